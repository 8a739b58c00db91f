//! What people see with `psql`: the view `tasks`.

use std::{collections::BTreeMap, path::Path};

use hashmesh::v1::SubmissionState;

use crate::support::{
    Database, Mesh, MeshOptions,
    raw::{file, inline, packed, rows},
    wait::{PATIENCE, until_value},
};

/// `SELECT status, COUNT(*) FROM tasks GROUP BY status`.
async fn counts(database: &Database) -> BTreeMap<String, i64> {
    let rows = database.client().await.query("SELECT status, COUNT(*) FROM tasks GROUP BY status", &[]).await;
    rows.expect("Postgres answers").iter().map(|row| (row.get(0), row.get(1))).collect()
}

fn expected(counts: &[(&str, i64)]) -> BTreeMap<String, i64> {
    counts.iter().map(|(status, count)| ((*status).to_owned(), *count)).collect()
}

#[tokio::test]
async fn the_view_has_a_row_per_task_in_every_state() {
    let root = crate::support::rundir::directory("sql");
    let mut mesh =
        Mesh::start("sql", MeshOptions { workers: 0, sources: vec![root.clone()], ..MeshOptions::default() }).await;
    let mut gateway = mesh.connect().await;
    let (mut stream, opened) = gateway.open_new().await;
    stream.batch(0, packed(["a", "b", "c"])).await;
    let wrong = hashmesh::v1::Task {
        expected: vec![hashmesh::v1::Digest { algorithm: 2, hex: "0".repeat(64) }],
        ..inline("wrong", "x")
    };
    let tasks = vec![inline("right", "y"), wrong, file("missing", &root.join("missing"))];
    stream.batch(1, rows(tasks)).await;
    stream.accepted(1).await;
    assert_eq!(counts(&mesh.database).await, expected(&[("queued", 6)]));

    mesh.add_worker().await;
    let done = expected(&[("succeeded", 4), ("mismatched", 1), ("failed", 1)]);
    until_value("all to be done", PATIENCE, async || counts(&mesh.database).await, |counts| *counts == done).await;
    // What nobody may read is cancelled with its submission.
    stream.batch(2, rows(vec![file("outside", Path::new("/outside/of/every/root"))])).await;
    stream.accepted(2).await;
    let cancel = hashmesh::gateway::v1::CancelSubmissionRequest { submission_id: opened.submission_id.clone() };
    gateway.cancel_submission(cancel).await.expect("a cancel");
    let mut with_cancelled = done;
    with_cancelled.insert("cancelled".to_owned(), 1);
    assert_eq!(counts(&mesh.database).await, with_cancelled);

    let row = mesh.database.client().await;
    let query = "SELECT sequence, task, status, attempt FROM tasks WHERE name = 'missing' AND submission_id::text = $1";
    let row = row.query_one(query, &[&opened.submission_id]).await.expect("one row");
    let found = (row.get::<_, i32>(0), row.get::<_, i32>(1), row.get::<_, String>(2), row.get::<_, i32>(3));
    assert_eq!(found, (1, 2, "failed".to_owned(), 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_task_has_exactly_one_row_at_every_moment_of_a_run() {
    let mesh = Mesh::start("sql-run", MeshOptions::default()).await;
    let mut gateway = mesh.connect().await;
    let (mut stream, opened) = gateway.open_new().await;
    const BATCHES: u32 = 60;
    let client = mesh.database.client().await;
    // One snapshot for all three: the batches that are stored, and the rows of their tasks.
    let all = "SELECT (SELECT coalesce(sum(task_count), 0) FROM batches)::bigint,
                      (SELECT count(*) FROM tasks), (SELECT count(DISTINCT (sequence, task)) FROM tasks)";
    let look = async || {
        let row = client.query_one(all, &[]).await.expect("Postgres answers");
        let (stored, shown, distinct) = (row.get::<_, i64>(0), row.get::<_, i64>(1), row.get::<_, i64>(2));
        assert_eq!((stored, stored), (shown, distinct), "stored, shown, distinct");
    };
    for sequence in 0..BATCHES {
        stream.batch(sequence, packed((0..200).map(|task| format!("{sequence}/{task}")))).await;
        look().await;
    }
    stream.seal(BATCHES).await;
    stream.finish();
    while gateway.submission(&opened.submission_id).await.state() != SubmissionState::Completed {
        look().await;
    }
    look().await;
    stream.end().await.1.expect("it ends well");
    assert_eq!(counts(&mesh.database).await, expected(&[("succeeded", i64::from(BATCHES) * 200)]));
    assert!(crate::history::counters::faults(&mesh.database).await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tasks_in_the_hands_of_a_worker_show_as_leased_within_a_moment() {
    let root = crate::support::rundir::directory("sql-leased");
    // Takes a while to read, sparse on disk.
    let file_handle = std::fs::File::create(root.join("large")).expect("a file");
    file_handle.set_len(20 * 1024 * 1024 * 1024).expect("a sparse file");
    let mesh = Mesh::start("sql-leased", MeshOptions { sources: vec![root.clone()], ..MeshOptions::default() }).await;
    let mut gateway = mesh.connect().await;
    let (mut stream, opened) = gateway.open_new().await;
    stream.batch(0, rows(vec![file("large", &root.join("large"))])).await;
    stream.accepted(0).await;
    let leased = expected(&[("leased", 1)]);
    until_value("it to show as leased", PATIENCE, async || counts(&mesh.database).await, |counts| *counts == leased)
        .await;
    let cancel = hashmesh::gateway::v1::CancelSubmissionRequest { submission_id: opened.submission_id };
    gateway.cancel_submission(cancel).await.expect("a cancel");
    assert_eq!(counts(&mesh.database).await, expected(&[("cancelled", 1)]));
}
