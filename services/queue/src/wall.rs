//! Time of day: what people name when they say when.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use prost_types::Timestamp;

use crate::clock;

/// Microseconds since the Unix epoch, as exact as Postgres stores them.
///
/// Never mixed with the core's time, which does not go back: a clock that is set moves what is to happen at a time of
/// day, and no lease, heartbeat or back-off.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct WallTime(pub(crate) i64);

const DAY_MICROS: i64 = 86_400_000_000;

impl WallTime {
    /// What this machine's clock says.
    pub(crate) fn now() -> Self {
        clock::system().into()
    }

    /// Days since 1970 (UTC).
    pub(crate) fn day(self) -> i32 {
        i32::try_from(self.0.div_euclid(DAY_MICROS)).unwrap_or(i32::MAX)
    }

    /// Until the next day (UTC) begins.
    pub(crate) fn until_midnight(self) -> Duration {
        Duration::from_micros((DAY_MICROS - self.0.rem_euclid(DAY_MICROS)).unsigned_abs())
    }

    /// As a value of a `timestamptz` column.
    pub(crate) fn to_system_time(self) -> SystemTime {
        let distance = Duration::from_micros(self.0.unsigned_abs());
        if self.0 < 0 { UNIX_EPOCH - distance } else { UNIX_EPOCH + distance }
    }

    /// As it is sent.
    pub(crate) fn to_timestamp(self) -> Timestamp {
        let nanos = self.0.rem_euclid(1_000_000) * 1_000;
        Timestamp { seconds: self.0.div_euclid(1_000_000), nanos: i32::try_from(nanos).unwrap_or_default() }
    }

    /// Of a validated timestamp; what is beyond the range of the type counts as its end.
    pub(crate) fn of_timestamp(timestamp: &Timestamp) -> Self {
        let micros = timestamp.seconds.saturating_mul(1_000_000).saturating_add(i64::from(timestamp.nanos) / 1_000);
        Self(micros)
    }
}

impl From<SystemTime> for WallTime {
    fn from(time: SystemTime) -> Self {
        let micros = |distance: Duration| i64::try_from(distance.as_micros()).unwrap_or(i64::MAX);
        match time.duration_since(UNIX_EPOCH) {
            Ok(after) => Self(micros(after)),
            Err(before) => Self(-micros(before.duration())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_the_same_in_every_form() {
        for micros in [0, 1, -1, 999_999, -1_000_001, 1_790_000_000_123_456] {
            let time = WallTime(micros);
            assert_eq!(WallTime::from(time.to_system_time()), time);
            assert_eq!(WallTime::of_timestamp(&time.to_timestamp()), time);
            assert!((0..1_000_000_000).contains(&time.to_timestamp().nanos));
        }
    }
}
