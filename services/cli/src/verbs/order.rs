//! Options that say when work is done, for every verb that submits.

use std::time::SystemTime;

use clap::Args;
use hashmesh::v1::SubmissionOptions;

/// When the tasks are handed out, and before whose.
#[derive(Args, Clone, Debug)]
pub(crate) struct OrderArgs {
    /// How urgent it is, 0 to 9; default: 5.
    #[arg(long, value_name = "0-9", value_parser = clap::value_parser!(u32).range(0..=9))]
    priority: Option<u32>,
    /// Hand out no task before this time: `2031-05-06T07:08:09Z`, or a duration from now: `2h`.
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    not_before: Option<SystemTime>,
    /// Cancel what has not ended by this time: `2031-05-06T07:08:09Z`, or a duration from now: `2h`.
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    deadline: Option<SystemTime>,
    /// How many of its tasks workers may hold at once.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=i64::from(i32::MAX)))]
    max_leased_tasks: Option<u32>,
}

impl OrderArgs {
    /// Writes them into a submission's options.
    pub(super) fn fill(&self, options: &mut SubmissionOptions) {
        options.priority = self.priority;
        options.not_before = self.not_before.map(Into::into);
        options.deadline = self.deadline.map(Into::into);
        options.max_leased_tasks = self.max_leased_tasks.unwrap_or(0);
    }

    /// True if none is given.
    pub(super) fn is_empty(&self) -> bool {
        let Self { priority, not_before, deadline, max_leased_tasks } = self;
        priority.is_none() && not_before.is_none() && deadline.is_none() && max_leased_tasks.is_none()
    }
}

/// A point in time, or a distance from now.
fn parse_time(text: &str) -> Result<SystemTime, String> {
    if let Ok(time) = humantime::parse_rfc3339_weak(text) {
        return Ok(time);
    }
    let wanted = "expected a time in UTC like 2031-05-06T07:08:09Z, or a duration from now like 90s or 2h";
    let distance = humantime::parse_duration(text).map_err(|_| wanted)?;
    Ok(SystemTime::now().checked_add(distance).ok_or(wanted)?)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    #[test]
    fn a_time_is_a_date_or_a_distance_from_now() {
        assert_eq!(parse_time("1970-01-02T00:00:00Z"), Ok(UNIX_EPOCH + Duration::from_secs(86_400)));
        let in_two_hours = parse_time("2h").unwrap().duration_since(SystemTime::now()).unwrap();
        assert!(in_two_hours <= Duration::from_secs(7_200) && in_two_hours > Duration::from_secs(7_000));
        for text in ["", "tomorrow", "5"] {
            parse_time(text).unwrap_err();
        }
    }
}
