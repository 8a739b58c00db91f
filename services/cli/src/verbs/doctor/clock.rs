//! The mesh's clock beside ours.

use std::time::{Duration, SystemTime};

use super::check::Check;

const NAME: &str = "clock";
/// Seconds of difference that are worth a look, and those that are too many.
const WARN: f64 = 2.0;
const FAIL: f64 = 30.0;
const REMEDY: &str = "set both clocks by NTP: times that you give (--not-before, --deadline, schedules) mean the mesh's clock, and \
                      certificates and keys expire by it";

/// The mesh's clock, read between two readings of ours.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reading {
    pub(super) before: SystemTime,
    /// The database's, strictly: times of submissions are its.
    pub(super) mesh: SystemTime,
    pub(super) after: SystemTime,
}

pub(super) fn judge(reading: Option<&Reading>) -> Check {
    let Some(reading) = reading else {
        return Check::skipped(NAME, "it is read from the submission of the stream, which there was none of");
    };
    let (skew, doubt) = skew(reading);
    let way = if skew < 0.0 { "behind" } else { "ahead of" };
    let found = format!("the mesh's is {:.3} s {way} ours (± {doubt:.3} s)", skew.abs());
    let sure = skew.abs() - doubt;
    let check = if sure > FAIL {
        Check::fail(NAME, found, REMEDY)
    } else if sure > WARN {
        Check::warn(NAME, found, REMEDY)
    } else {
        Check::ok(NAME, found)
    };
    check.with("skew_seconds", skew).with("uncertainty_seconds", doubt)
}

/// Seconds that the mesh is ahead of the middle between our readings, and how far off that may be.
fn skew(reading: &Reading) -> (f64, f64) {
    let span = reading.after.duration_since(reading.before).unwrap_or(Duration::ZERO);
    let middle = reading.before + span / 2;
    let skew = match reading.mesh.duration_since(middle) {
        Ok(ahead) => ahead.as_secs_f64(),
        Err(behind) => -behind.duration().as_secs_f64(),
    };
    (skew, span.as_secs_f64() / 2.0)
}

#[cfg(test)]
mod tests {
    use super::{super::check::State, *};

    fn reading(mesh: f64, span: f64) -> Reading {
        let before = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000);
        let mesh = SystemTime::UNIX_EPOCH + Duration::from_secs_f64(1_000.0 + mesh);
        Reading { before, mesh, after: before + Duration::from_secs_f64(span) }
    }

    #[test]
    fn skew_is_counted_from_the_middle_of_our_readings() {
        let (skew, doubt) = skew(&reading(0.5, 1.0));
        assert!(skew.abs() < 1e-6 && (doubt - 0.5).abs() < 1e-6);
        let check = judge(Some(&reading(-4.0, 2.0)));
        assert_eq!(check.state, State::Warn);
        assert!(check.found.contains("5.000 s behind ours (± 1.000 s)"), "{check:?}");
    }

    #[test]
    fn only_what_is_certain_counts() {
        for (mesh, span, state) in [
            (1.9, 0.0, State::Ok),
            (2.1, 0.0, State::Warn),
            (5.0, 8.0, State::Ok),
            (29.0, 0.0, State::Warn),
            (31.0, 0.0, State::Fail),
            (-31.0, 0.2, State::Fail),
        ] {
            assert_eq!(judge(Some(&reading(mesh, span))).state, state, "{mesh} {span}");
        }
        assert_eq!(judge(None).state, State::Skipped);
    }
}
