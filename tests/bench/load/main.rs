//! What becomes of a mesh behind Envoy under load: `load PROFILE SERVERS PROCESSES [NAME=VALUE…]`.
//!
//! | PROFILE | |
//! |---|---|
//! | `smoke` | 500 calls a minute; fails with a single error or a p99 of 500 ms or more |
//! | `load` | a constant rate, in steps up to `rate` (10,000/s); prints the highest that was sustained, also for longer; fails below 300/s |
//! | `stress` | a rate that climbs by a quarter until it is not sustained: the knee; fails if the first rate is not sustained behind it |
//! | `soak` | a constant rate for long; fails where the memory of a process grows by more than a fifth and 16 MiB |
//! | `spike` | ten times the rate for some seconds; prints how long it takes until calls are answered as before; fails above 10 s |
//! | `streams` | `streams` open streams over `connections` connections; fails unless each gets its pings and, at the end, its final state |
//! | `connections` | `connections` connections with a call each, from several source addresses; fails unless each answers again at the end |
//!
//! SERVERS are addresses of Envoys (`connections` divides its connections among them, the others use the first), PROCESSES are
//! `NAME=PID,…`, whose memory and CPU are printed. Rates are open loops: calls come whatever becomes of those before, and a
//! latency counts from when the call was due. A rate is sustained with a p99 below 500 ms and less than 0.1 % errors.
//!
//! A tool of our own, because what offers the load has the same two cores as what bears it: this one makes calls by h2 alone, on
//! one thread, and a stream that waits costs it some kilobytes (the CPU that it takes is printed beside that of the others). ghz and
//! k6 decode every message by reflection, and have a goroutine or a JavaScript machine for each user; and neither counts a latency from
//! when the call was due, binds source addresses, or can ask fifty thousand streams whether they live.

mod connections;
mod grpc;
mod measure;
mod pace;
mod processes;
mod settings;
mod streams;
mod unary;

use std::{error::Error, process::ExitCode};

use settings::Settings;

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// What holds and what does not.
#[derive(Debug, Default)]
struct Verdict {
    failed: bool,
}

impl Verdict {
    fn expect(&mut self, holds: bool, what: &str) {
        println!("{} {what}", if holds { "PASS" } else { "FAIL" });
        self.failed |= !holds;
    }
}

/// One thread: the others are for whom it asks.
#[tokio::main(flavor = "current_thread")]
async fn main() -> Outcome<ExitCode> {
    let settings = Settings::read(std::env::args().skip(1))?;
    let mut verdict = Verdict::default();
    match settings.profile.as_str() {
        "smoke" => unary::smoke(&settings, &mut verdict).await?,
        "load" => unary::load(&settings, &mut verdict).await?,
        "stress" => unary::stress(&settings, &mut verdict).await?,
        "soak" => unary::soak(&settings, &mut verdict).await?,
        "spike" => unary::spike(&settings, &mut verdict).await?,
        "streams" => streams::run(&settings, &mut verdict).await?,
        "connections" => connections::run(&settings, &mut verdict).await?,
        "hold" => connections::hold(&settings).await?,
        other => return Err(format!("there is no profile {other:?}").into()),
    }
    Ok(if verdict.failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
