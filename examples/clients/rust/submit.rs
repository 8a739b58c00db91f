//! `submit SERVER TASKS [KEY]`: submits tasks and checks every outcome, over as many reconnects as it takes.
//!
//! Windows, resuming by sequence and position, back-off with jitter and typed errors are the library's (`hashmesh::client`); what is
//! left to do is to say what the tasks are and what their outcomes must be.

use std::{env, error::Error, process::ExitCode};

use hashmesh::{
    client::{BatchBuilder, Client, ClientConfig, ClientError, ResultsQuery, Submitter, Target, TlsOptions},
    keys::KeyText,
    v1::{OutcomeStatus, PackedOutcomes, SubmissionOptions},
};
use sha2::{Digest as _, Sha256};

/// Tasks of a batch: a rerun with the same key must cut them in the same way.
const BATCH_TASKS: u64 = 1_000;

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(line) => {
            println!("{line}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<String, Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let (server, tasks, key) = match &arguments[..] {
        [server, tasks] => (server, tasks.parse()?, String::new()),
        [server, tasks, key] => (server, tasks.parse()?, key.clone()),
        _ => return Err("usage: submit SERVER TASKS [KEY]".into()),
    };
    let client = Client::connect(config(server)?)?;
    // With a key, whoever runs this again goes on with the submission that is there.
    let idempotency_key = Some(key).filter(|key| !key.is_empty());
    let submitter = client.submit(Target::New { options: SubmissionOptions::default(), idempotency_key }).await?;
    let (submission_id, progress) = (submitter.submission_id().to_owned(), submitter.progress());
    // Both at once: outcomes that nobody reads are no burden to the mesh, but why wait? And until one fails: of a submission that is
    // never sealed nobody reads the end.
    let write = async { Ok(write(submitter, tasks).await?) };
    let ((), succeeded) = tokio::try_join!(write, check(&client, &submission_id))?;
    let reconnects = progress.reconnects();
    if succeeded != tasks {
        return Err(format!("{succeeded} of {tasks} tasks succeeded").into());
    }
    Ok(format!(
        r#"{{"submission_id": "{submission_id}", "tasks": {tasks}, "succeeded": {succeeded}, "reconnects": {reconnects}}}"#
    ))
}

fn config(server: &str) -> Result<ClientConfig, Box<dyn Error>> {
    let mut config = ClientConfig::new(server);
    if let Ok(key) = env::var("HASHMESH_API_KEY") {
        config.api_key = Some(KeyText::parse(&key)?);
    }
    if let Ok(path) = env::var("HASHMESH_TLS_CA") {
        config.tls = TlsOptions::default().authorities(std::fs::read(path)?);
    }
    Ok(config)
}

/// What a task hashes.
fn input(task: u64) -> String {
    format!("task {task}")
}

/// Sends what the mesh does not have yet, and seals.
async fn write(mut submitter: Submitter, tasks: u64) -> Result<(), ClientError> {
    let mut task = u64::from(submitter.next_sequence()) * BATCH_TASKS;
    while task < tasks {
        let mut batch = BatchBuilder::new(submitter.limits());
        let end = tasks.min(task + BATCH_TASKS);
        for task in task..end {
            batch.push_inline(format!("task-{task}").as_bytes(), input(task).as_bytes());
        }
        // Waits while the window is full.
        submitter.send(batch.take()).await?;
        task = end;
    }
    submitter.seal().await.map(|_| ())
}

/// Reads to the end, each outcome once, and compares the digests. How many tasks succeeded.
async fn check(client: &Client, submission_id: &str) -> Result<u64, Box<dyn Error>> {
    let mut results = client.results(ResultsQuery::following(submission_id));
    let mut succeeded = 0;
    while let Some(outcomes) = results.next().await? {
        check_batch(&outcomes)?;
        succeeded += u64::from(outcomes.task_count);
    }
    Ok(succeeded)
}

/// Outcomes come as columns: the digests of a batch's tasks one after the other.
fn check_batch(outcomes: &PackedOutcomes) -> Result<(), Box<dyn Error>> {
    let first = u64::from(outcomes.sequence) * BATCH_TASKS + u64::from(outcomes.first_task);
    // None are said if all succeeded.
    if let Some(status) = outcomes.statuses.iter().find(|status| i32::from(**status) != OutcomeStatus::Succeeded as i32)
    {
        return Err(format!("a task from {first} on ended with status {status}").into());
    }
    for (task, digest) in (first..).zip(outcomes.digests.chunks_exact(Sha256::output_size())) {
        if *digest != *Sha256::digest(input(task)) {
            return Err(format!("task {task}: its digest is another one").into());
        }
    }
    Ok(())
}
