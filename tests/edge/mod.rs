//! Everything through a real Envoy, with the configuration that `envoy/` has for it.

mod balance;
mod clients;
mod config;
mod doctor;
mod faults;
mod json;
mod limits;
mod streams;
mod web;

use std::time::Duration;

use hashmesh::{client::Client, v1::SubmissionOptions};

use crate::{
    history::{
        check::check,
        client::{ClientRun, Load},
        inputs,
    },
    support::{
        cli::program,
        edge::Edge,
        wait::{PATIENCE, until},
    },
};

/// A submission that is written and read for as long as it is wanted.
async fn run(client: &Client) -> ClientRun {
    let load =
        Load { options: SubmissionOptions::default(), batch_tasks: 50, ahead: 2_000, pace: Duration::from_millis(5) };
    ClientRun::start(client, load, inputs::tasks).await
}

/// Waits until so many more outcomes were read.
async fn goes_on(run: &ClientRun, what: &str) {
    let before = run.outcomes();
    let more = async || (run.outcomes() >= before + 3_000).then_some(());
    until(&format!("outcomes to go on: {what}"), PATIENCE, more).await;
}

/// Lets it end, and checks that nothing was lost or repeated.
async fn ends_well(run: ClientRun, edge: &Edge) {
    let history = run.finish(inputs::digests, &edge.mesh.database).await;
    check(&history).assert_clean();
}

/// `curl ARGUMENTS URL`: status, headers in lower case, body.
async fn curl(arguments: &[&str], url: &str) -> (u16, String, Vec<u8>) {
    let usual = [
        "--silent",
        "--show-error",
        "--noproxy",
        "*",
        "--no-buffer",
        "--include",
        "--header",
        "expect:",
        "--max-time",
        "60",
    ];
    let ended = program("curl", usual.iter().chain(arguments)).arg(url).run().await.succeeded();
    let split = ended.stdout.windows(4).position(|four| four == b"\r\n\r\n").expect("headers end");
    let head = String::from_utf8_lossy(&ended.stdout[..split]).to_lowercase();
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    (status, head, ended.stdout[split + 4..].to_vec())
}
