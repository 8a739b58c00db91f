//! `kill -9` of the whole mesh and of its Postgres, in the middle of the work (promises 1, 2, 5, 6, 7).

use std::process::Stdio;

use hashmesh::{gateway::v1::OpenSubmission, v1::SubmissionState};
use rand::Rng as _;
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    process::Command,
};

use crate::{
    history::{
        check::check,
        run::{Load, Run},
    },
    support::{
        Database, Gateway, Up, heavy, oracle,
        process::{HASHMESH, clean_environment},
        raw::packed,
    },
};

/// Tasks and kills: seconds in the short version.
fn size() -> (usize, u32) {
    if heavy::long() { (1_000_000, 10) } else { (100_000, 2) }
}

/// When to kill: after so many, while no more than `until` are there.
struct Moment {
    after: u32,
    until: u32,
}

/// As many random moments of a run, in order, each in a part of the work that is not over before it has come.
fn moments(kills: u32, count: u32) -> Vec<Moment> {
    let mut rng = rand::rng();
    let share = count / (kills + 1);
    let moment = |kill| Moment { after: kill * share + rng.random_range(1..=share / 2), until: (kill + 1) * share };
    (0..kills).map(moment).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn promises_1_2_5_6_and_7_an_accepted_batch_survives_kill_9_of_the_whole_mesh_and_its_postgres() {
    let _turn = heavy::turn().await;
    let (tasks, kills) = size();
    let mut up = Up::start("kills", &[]).await;
    let load = Load { tasks, batch_tasks: 250, window: 16, cut_after: tasks / 7 };
    let mut run = Run::start_held(&up.server, load);
    for Moment { after, until } in moments(kills, run.batch_count) {
        run.may_write(until);
        run.acknowledged(after).await;
        up.kill_with_postgres(rand::rng().random());
        up.restart().await;
    }
    run.may_write_all();
    let (history, outages) = run.finish(&Database::of_url(up.database_url())).await;
    assert!(outages >= kills, "{kills} kills, and the writer noticed {outages}");
    check(&history).assert_clean();
    assert_eq!(history.end.expect("checked").recorded_tasks, tasks as u64);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn promise_1_the_command_rides_out_kill_9_of_the_mesh_and_prints_every_task_once() {
    let _turn = heavy::turn().await;
    let (tasks, kills) = size();
    let mut up = Up::start("kills-cli", &[]).await;

    let mut command = std::process::Command::new(HASHMESH);
    clean_environment(&mut command);
    command
        .args(["submit", "--server", &up.server, "--output", "jsonl", "--idempotency-key", "kills", "--lines", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut submit = Command::from(command).kill_on_drop(true).spawn().expect("the command starts");
    let mut stdin = submit.stdin.take().expect("it is piped");
    let feeding = tokio::spawn(async move {
        for chunk in (1..=tasks).collect::<Vec<_>>().chunks(10_000) {
            let lines: String = chunk.iter().map(|line| format!("line {line}\n")).collect();
            stdin.write_all(lines.as_bytes()).await.expect("the command reads");
        }
    });
    let mut lines = BufReader::new(submit.stdout.take().expect("it is piped")).lines();
    let mut printed: Vec<Value> = Vec::with_capacity(tasks);
    for Moment { after, .. } in moments(kills, u32::try_from(tasks).expect("few")) {
        while printed.len() < after as usize {
            let line = lines.next_line().await.expect("UTF-8").expect("there is more to print");
            printed.push(serde_json::from_str(&line).expect("JSON"));
        }
        up.kill_with_postgres(rand::rng().random());
        up.restart().await;
    }
    while let Some(line) = lines.next_line().await.expect("UTF-8") {
        printed.push(serde_json::from_str(&line).expect("JSON"));
    }
    feeding.await.expect("all was read");
    let output = submit.wait_with_output().await.expect("it is our child");
    assert!(output.status.success(), "{}: {}", output.status, String::from_utf8_lossy(&output.stderr));

    let inputs: Vec<String> = (1..=tasks).map(|line| format!("line {line}")).collect();
    let wanted = oracle::digests("sha256", inputs.iter().map(String::as_bytes));
    let mut seen = vec![false; tasks];
    assert_eq!(printed.len(), tasks);
    for (outcome, position) in printed.iter().zip(1_u64..) {
        assert_eq!(outcome["position"].as_u64(), Some(position), "text is in position order: {outcome}");
        let line: usize = outcome["name"].as_str().expect("a name").parse().expect("the line's number");
        assert!(!std::mem::replace(&mut seen[line - 1], true), "line {line} came twice");
        assert_eq!(outcome["outcome"], "succeeded");
        assert_eq!(outcome["digests"]["sha256"].as_str(), Some(hex::encode(&wanted[line - 1]).as_str()), "{outcome}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn promise_1_postgres_alone_may_be_killed_under_load() {
    let _turn = heavy::turn().await;
    let up = Up::start("kill-postgres", &[]).await;
    let tasks = 50_000;
    let load = Load { tasks, batch_tasks: 250, window: 8, cut_after: tasks / 3 };
    let mut run = Run::start_held(&up.server, load);
    for Moment { after, until } in moments(2, run.batch_count) {
        run.may_write(until);
        run.acknowledged(after).await;
        up.kill_postgres().await;
    }
    run.may_write_all();
    let (history, _) = run.finish(&Database::of_url(up.database_url())).await;
    check(&history).assert_clean();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn promise_1_a_postgres_that_outlives_its_mesh_does_not_stand_in_the_way_of_the_next() {
    let mut up = Up::start("outlived", &[]).await;
    let mut gateway = Gateway::connect(&up.server).await;
    let (mut stream, opened) = gateway.open_new().await;
    stream.batch(0, packed(["a", "b"])).await;
    stream.accepted(0).await;
    let outlived = up.postgres_pid().expect("it runs");
    up.restart().await;
    assert_ne!(up.postgres_pid(), Some(outlived), "it is not the child of the new one");
    gateway = Gateway::connect(&up.server).await;
    let open = OpenSubmission { submission_id: opened.submission_id.clone(), ..OpenSubmission::default() };
    let (mut stream, again) = gateway.open(open).await.expect("it opens again");
    assert_eq!((again.next_sequence, again.accepted_tasks), (1, 2));
    stream.seal(1).await;
    stream.finish();
    stream.end().await.1.expect("it ends well");
    gateway.reaches(&opened.submission_id, SubmissionState::Completed).await;
    assert!(up.terminate().await.success());
}
