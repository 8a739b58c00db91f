//! What one check found, and how all are shown.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};

/// How it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Nothing is wrong.
    Ok,
    /// It works, and somebody should look at it.
    Warn,
    /// Something does not work, or will not for long.
    Fail,
    /// It was not asked.
    Skipped,
}

/// One check.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Check {
    pub(super) name: &'static str,
    pub(super) state: State,
    /// What was found, for people; or why nothing was asked.
    pub(super) found: String,
    /// The same, for programs.
    measured: Map<String, Value>,
    /// What to do.
    pub(super) remedy: Option<String>,
}

impl Check {
    pub(super) fn ok(name: &'static str, found: impl Into<String>) -> Self {
        Self { name, state: State::Ok, found: found.into(), measured: Map::new(), remedy: None }
    }

    pub(super) fn warn(name: &'static str, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { state: State::Warn, remedy: Some(remedy.into()), ..Self::ok(name, found) }
    }

    pub(super) fn fail(name: &'static str, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { state: State::Fail, remedy: Some(remedy.into()), ..Self::ok(name, found) }
    }

    pub(super) fn skipped(name: &'static str, why: impl Into<String>) -> Self {
        Self { state: State::Skipped, ..Self::ok(name, why) }
    }

    /// With a number, or what else a program may want.
    pub(super) fn with(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.measured.insert(key.to_owned(), value.into());
        self
    }

    fn json(&self) -> Value {
        json!({
            "name": self.name,
            "state": self.state.name(),
            "found": self.found,
            "measured": self.measured,
            "remedy": self.remedy,
        })
    }
}

impl State {
    fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "fail",
            Self::Skipped => "skipped",
        }
    }
}

/// All checks, in the order they were made.
#[derive(Debug)]
pub(super) struct Findings {
    pub(super) server: String,
    pub(super) checks: Vec<Check>,
}

impl Findings {
    pub(super) fn failed(&self) -> bool {
        self.count(State::Fail) > 0
    }

    fn count(&self, state: State) -> usize {
        self.checks.iter().filter(|check| check.state == state).count()
    }

    /// A line per check, one more where there is something to do, and a sum.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        for Check { name, state, found, remedy, .. } in &self.checks {
            // Writing to a string does not fail.
            let _ = writeln!(text, "{:<8} {name:<16} {found}", state.name());
            if let Some(remedy) = remedy {
                let _ = writeln!(text, "{:<8} {:<16} -> {remedy}", "", "");
            }
        }
        let [ok, warned, failed, skipped] =
            [State::Ok, State::Warn, State::Fail, State::Skipped].map(|state| self.count(state));
        let _ = writeln!(text, "{}: {ok} ok, {warned} to look at, {failed} failed, {skipped} skipped", self.server);
        text
    }

    pub(super) fn json(&self) -> Value {
        json!({
            "server": self.server,
            "failed": self.failed(),
            "checks": self.checks.iter().map(Check::json).collect::<Vec<_>>(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_to_be_done_stands_below_what_was_found() {
        let checks = vec![
            Check::ok("reach", "answers").with("round_trip_ms", 0.5),
            Check::warn("clock", "3 s behind", "look at NTP"),
            Check::skipped("schema", "not asked"),
        ];
        let findings = Findings { server: "http://mesh".into(), checks };
        let text = "ok       reach            answers\nwarn     clock            3 s behind\n                          \
                    -> look at NTP\nskipped  schema           not asked\nhttp://mesh: 1 ok, 1 to look at, 0 failed, 1 \
                    skipped\n";
        assert_eq!(findings.text(), text);
        assert!(!findings.failed());
        assert_eq!(findings.json()["checks"][0]["measured"]["round_trip_ms"], 0.5);
        assert_eq!(findings.json()["checks"][1]["remedy"], "look at NTP");
    }
}
