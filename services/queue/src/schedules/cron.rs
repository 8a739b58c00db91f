//! The times of a schedule.

use std::{str::FromStr as _, time::SystemTime};

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use croner::parser::{CronParser, Seconds, Year};

use crate::error::QueueError;

/// A cron expression in a time zone.
#[derive(Debug)]
pub(super) struct Times {
    cron: croner::Cron,
    zone: Tz,
}

impl Times {
    /// Reads both; the error says which field is at fault.
    pub(super) fn parse(cron: &str, time_zone: &str) -> Result<Self, QueueError> {
        let parser = CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
        let cron = parser.parse(cron).map_err(|error| {
            let wanted = "must be five fields as crontab(5) has them, such as `0 3 * * *`";
            QueueError::invalid("cron", format!("{wanted}: {error}"))
        })?;
        let zone = Tz::from_str(time_zone).map_err(|_| {
            QueueError::invalid(
                "time_zone",
                format!("must be the IANA name of a time zone, such as Europe/Berlin; is {time_zone:?}"),
            )
        })?;
        Ok(Self { cron, zone })
    }

    /// The first time after `after`; `None`: there is none.
    pub(super) fn next(&self, after: SystemTime) -> Option<SystemTime> {
        let after = DateTime::<Utc>::from(after).with_timezone(&self.zone);
        self.cron.find_next_occurrence(&after, false).ok().map(Into::into)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(cron: &str, zone: &str, after: &str, count: usize) -> Vec<String> {
        let times = Times::parse(cron, zone).unwrap();
        let mut at: SystemTime = DateTime::parse_from_rfc3339(after).unwrap().into();
        let next = || {
            at = times.next(at)?;
            Some(DateTime::<Utc>::from(at).format("%m-%dT%H:%M").to_string())
        };
        std::iter::from_fn(next).take(count).collect()
    }

    #[test]
    fn a_schedule_has_its_times_in_its_time_zone() {
        assert_eq!(times("0 3 * * *", "UTC", "2026-11-22T03:00:00Z", 2), ["11-23T03:00", "11-24T03:00"]);
        assert_eq!(times("30 9 1 * *", "Asia/Tokyo", "2026-11-22T00:00:00Z", 2), ["12-01T00:30", "01-01T00:30"]);
        assert_eq!(
            times("*/20 * * * MON", "UTC", "2026-11-22T12:00:00Z", 3),
            ["11-23T00:00", "11-23T00:20", "11-23T00:40"]
        );
        assert_eq!(times("@monthly", "UTC", "2026-11-22T12:00:00Z", 1), ["12-01T00:00"]);
        assert!(times("0 0 30 2 *", "UTC", "2026-11-22T12:00:00Z", 1).is_empty(), "never");
    }

    #[test]
    fn a_time_that_is_left_out_is_made_up_for_and_one_that_comes_twice_is_run_once() {
        let berlin = |cron, after, count| times(cron, "Europe/Berlin", after, count);
        // 02:00 to 03:00 are left out on 29 March 2026.
        let spring = berlin("30 2 * * *", "2026-03-28T12:00:00Z", 2);
        assert_eq!(spring, ["03-29T01:00", "03-30T00:30"]);
        // 02:00 to 03:00 come twice on 25 October 2026.
        let autumn = berlin("30 2 * * *", "2026-10-24T12:00:00Z", 2);
        assert_eq!(autumn, ["10-25T00:30", "10-26T01:30"]);
        let hours = berlin("0 * * * *", "2026-10-24T23:00:00Z", 4);
        assert_eq!(hours, ["10-25T00:00", "10-25T01:00", "10-25T02:00", "10-25T03:00"]);
    }

    #[test]
    fn what_is_no_time_is_refused_with_the_field() {
        let field = |cron, zone| match Times::parse(cron, zone).unwrap_err() {
            QueueError::Invalid { field, .. } => field,
            other => panic!("{other}"),
        };
        for cron in ["", "* * * *", "0 0 0 * * *", "60 * * * *", "* 24 * * *", "x * * * *", "0 3 * * * 2027 x"] {
            assert_eq!(field(cron, "UTC"), "cron", "{cron}");
        }
        for zone in ["", "Mars/Olympus", "+02:00", "CEST!"] {
            assert_eq!(field("0 3 * * *", zone), "time_zone", "{zone}");
        }
    }
}
