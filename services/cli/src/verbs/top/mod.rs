//! `hashmesh top`: what the mesh is doing, as it changes.
//!
//! [`poll`] asks, [`changes`] compares two answers, [`picture`] makes lines of them; all of that is the same on a terminal
//! ([`live`]) and into a pipe ([`plain`]).

mod changes;
mod live;
mod numbers;
mod picture;
mod plain;
mod poll;
mod screen;
mod state;
mod table;

use std::{io::IsTerminal as _, time::Duration};

use clap::{Args, ValueEnum};
use tokio::signal::unix::{SignalKind, signal};

use super::{
    failure::{self, Failure},
    server::ServerArgs,
};

/// A mesh that is asked more often than this would be kept busy by it.
const SHORTEST: Duration = Duration::from_millis(100);
/// What changed over a longer time is for `stats`, twice.
const LONGEST: Duration = Duration::from_secs(3_600);
/// The exit code after SIGTERM, as shells count it: 128 + the signal.
const TERMINATED: u8 = 143;

/// Show what the mesh is doing, again and again: rates, how long tasks spend in each phase, workers, the database. On a
/// terminal `q` ends it. An outage is shown for as long as it lasts; --retry-for is about the first answer only.
#[derive(Args, Debug)]
pub(crate) struct TopArgs {
    /// How often to ask: 100ms to 1h.
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = interval)]
    interval: Duration,
    /// End after so many intervals; 0: go on until interrupted.
    #[arg(long, value_name = "N", default_value_t = 0)]
    count: u64,
    /// A picture, or one object per interval.
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t)]
    output: Form,
    #[command(flatten)]
    server: ServerArgs,
}

/// The shape of the data.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Form {
    /// For people: redrawn in place on a terminal, else one block per interval.
    #[default]
    Text,
    /// One object per line and interval.
    Jsonl,
}

impl TopArgs {
    pub(super) async fn run(self) -> Result<u8, Failure> {
        if self.output == Form::Text && std::io::stdout().is_terminal() {
            live::run(&self).await
        } else {
            plain::run(&self).await
        }
    }
}

fn interval(text: &str) -> Result<Duration, String> {
    let interval = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if (SHORTEST..=LONGEST).contains(&interval) { Ok(interval) } else { Err("must be 100ms to 1h".to_owned()) }
}

/// Signals that end it. They are caught from here on, so that a terminal is left as it was found.
#[derive(Debug)]
struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

impl Signals {
    fn new() -> Result<Self, Failure> {
        let caught = |kind| signal(kind).map_err(|error| Failure::local("cannot catch signals", &error));
        Ok(Self { terminate: caught(SignalKind::terminate())?, interrupt: caught(SignalKind::interrupt())? })
    }

    /// Waits for one, and gives what the verb ends with.
    async fn caught(&mut self) -> Result<u8, Failure> {
        tokio::select! {
            _ = self.terminate.recv() => Ok(TERMINATED),
            _ = self.interrupt.recv() => Err(interrupted()),
        }
    }
}

fn interrupted() -> Failure {
    Failure::Interrupted("interrupted".to_owned())
}

/// What the verb ends with after its last interval.
fn after_the_last(error: Option<hashmesh::client::ClientError>) -> Result<u8, Failure> {
    error.map_or(Ok(failure::OK), |error| Err(error.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_has_a_limit_on_both_sides() {
        assert_eq!(interval("100ms"), Ok(Duration::from_millis(100)));
        assert_eq!(interval("1h"), Ok(Duration::from_secs(3_600)));
        for refused in ["99ms", "0s", "3601s", "1day"] {
            assert_eq!(interval(refused), Err("must be 100ms to 1h".to_owned()), "{refused}");
        }
        assert!(interval("soon").is_err() && interval("").is_err() && interval("-1s").is_err());
    }
}
