//! What has passed its retention: gone with its partition, and not before.

use std::time::Duration;

use hashmesh_database::Database;
use uuid::Uuid;

use super::{
    super::{
        Maintenance, StoreError, SubmissionsPage,
        model::{IdempotencyKey, NewSubmission, Totals, Write},
        submission, submissions,
    },
    cluster::database,
    fixture::{LONG, Owner, batch, create, new_submission, number, results as outcomes, unit, unlocked},
    previous::id_of,
};
use crate::maintenance::{StorageStatus, expire};
use crate::shard::ShardSet;

const DAY: Duration = Duration::from_secs(86_400);

/// Partitions for these many days back.
async fn days_back(db: &Database, days: i32) {
    let connection = db.pooled().await.unwrap();
    let sql = "SELECT COUNT(make_day(parent, (now() AT TIME ZONE 'UTC')::date - age)) \
               FROM unnest(ARRAY['batches', 'results']) AS parent, generate_series(-7, $1::integer) AS age";
    connection.query_one(sql, &[&days]).await.unwrap();
}

fn whole(new: NewSubmission, finish: &[Write]) -> Vec<Write> {
    let row = outcomes(0, 0, &[1, 1, 1], Totals::default());
    let mut writes = vec![Write::Create(new), Write::Batch(batch(0, 3, 3, None)), Write::Results(row)];
    writes.extend_from_slice(finish);
    writes
}

fn completed(new: NewSubmission) -> Vec<Write> {
    whole(new, &[Write::Seal { batch_count: 1 }, Write::Complete])
}

/// As if it had ended in its day.
async fn backdate(db: &Database) {
    let sql = "UPDATE submissions SET created_at = first.at, ended_at = first.at FROM (SELECT id, \
               day_of(id)::timestamp AT TIME ZONE 'UTC' AS at FROM submissions) AS first WHERE first.id = submissions.id \
               AND state IN ('completed', 'cancelled')";
    db.pooled().await.unwrap().execute(sql, &[]).await.unwrap();
}

async fn expire_now(db: &Database, retention: Duration) -> hashmesh::v1::StorageStats {
    let tables = Maintenance::open(db).await.unwrap().unwrap();
    let status = StorageStatus::default();
    expire(&tables, retention, &status).await.unwrap();
    drop(tables);
    unlocked(db).await;
    status.stats()
}

async fn known(db: &Database, id: Uuid) -> bool {
    submission(db, id).await.unwrap().is_some()
}

#[tokio::test]
async fn a_day_goes_when_the_last_of_its_submissions_may_and_its_keys_go_with_it() {
    let db = database().await;
    days_back(&db, 60).await;
    let mut owner = Owner::new(&db, LONG).await;
    let (expired, beside_longer, longer, beside_open, open, fresh) = (
        id_of(&db, 50, 1).await,
        id_of(&db, 45, 1).await,
        id_of(&db, 45, 2).await,
        id_of(&db, 40, 1).await,
        id_of(&db, 40, 2).await,
        id_of(&db, 10, 1).await,
    );
    let keyed = NewSubmission {
        idempotency: Some(IdempotencyKey { key: "key".to_owned(), options_fingerprint: [1; 32] }),
        ..new_submission()
    };
    let kept = NewSubmission { retention_seconds: Some(46 * 86_400), ..new_submission() };
    owner
        .write(&[
            unit(expired, completed(keyed)),
            unit(beside_longer, completed(new_submission())),
            unit(longer, completed(kept)),
            unit(beside_open, completed(new_submission())),
            unit(open, whole(new_submission(), &[])),
            unit(fresh, completed(new_submission())),
        ])
        .await;
    backdate(&db).await;

    assert_eq!(expire_now(&db, Duration::ZERO).await.expired_submissions, 0, "zero is for ever");
    // 61 days back and a week ahead, less the days that are too young or hold something.
    let stats = expire_now(&db, 30 * DAY).await;
    assert_eq!(stats.expired_submissions, 1);
    assert!(!known(&db, expired).await);
    for id in [beside_longer, longer, beside_open, open, fresh] {
        assert!(known(&db, id).await);
        assert_eq!(number(&db, &format!("SELECT COUNT(*) FROM tasks WHERE submission_id = '{id}'")).await, 3);
    }
    assert_eq!(number(&db, "SELECT COUNT(*) FROM idempotency_keys").await, 0);
    assert_eq!(number(&db, "SELECT COUNT(*) FROM tasks").await, 15);
    // The day of what expired, and every day without submissions, is dropped from both tables; none is left behind.
    let left = "SELECT COUNT(*) FROM partitions WHERE kind = 'day' AND to_id <= first_id(now() - interval '1 day')";
    assert_eq!(number(&db, left).await, 2 * 3, "{stats:?}");
    assert_eq!(number(&db, "SELECT COUNT(*) FROM partitions WHERE NOT attached").await, 0);

    // Its own retention has passed: 46 days from a day that began more than 45 days ago end within a day.
    let stats = expire_now(&db, 9 * DAY).await;
    assert_eq!(stats.expired_submissions, 1, "the fresh one only");
    assert!(known(&db, longer).await && known(&db, open).await && !known(&db, fresh).await);
}

#[tokio::test]
async fn a_partition_in_use_is_dropped_later_and_one_that_was_only_detached_is_dropped_too() {
    let db = database().await;
    days_back(&db, 12).await;
    let mut owner = Owner::new(&db, LONG).await;
    let id = id_of(&db, 10, 1).await;
    owner.write(&[unit(id, completed(new_submission()))]).await;
    backdate(&db).await;
    // A report that reads the table for long.
    let report = db.dedicated("report").await.unwrap();
    report.batch_execute("BEGIN; SELECT COUNT(*) FROM batches").await.unwrap();
    let stats = expire_now(&db, DAY).await;
    assert_eq!(stats.expired_submissions, 1);
    let batches = "SELECT COUNT(*) FROM partitions WHERE parent = 'batches' AND kind = 'day' \
                   AND to_id <= first_id(now() - interval '1 day')";
    assert!(number(&db, batches).await > 0);
    report.batch_execute("COMMIT").await.unwrap();
    // As if the process had died between the two steps.
    db.pooled()
        .await
        .unwrap()
        .execute("SELECT detach_partition(parent, name) FROM partitions WHERE name = (SELECT MIN(name) FROM partitions WHERE kind = 'day')", &[])
        .await
        .unwrap();
    assert_eq!(number(&db, "SELECT COUNT(*) FROM partitions WHERE NOT attached").await, 1);
    expire_now(&db, DAY).await;
    assert_eq!(number(&db, batches).await, 0);
    assert_eq!(number(&db, "SELECT COUNT(*) FROM partitions WHERE NOT attached").await, 0);
}

#[tokio::test]
async fn what_is_in_the_default_partition_expires_too() {
    let db = database().await;
    days_back(&db, 0).await;
    let mut owner = Owner::new(&db, LONG).await;
    let id = id_of(&db, 50, 1).await;
    owner.write(&[unit(id, completed(new_submission()))]).await;
    backdate(&db).await;
    assert_eq!(number(&db, "SELECT COUNT(*) FROM batches_default").await, 1);
    assert_eq!(expire_now(&db, 30 * DAY).await.expired_submissions, 1);
    assert_eq!(number(&db, "SELECT COUNT(*) FROM batches_default").await, 0);
    assert_eq!(number(&db, "SELECT COUNT(*) FROM results_default").await, 0);
}

#[tokio::test]
async fn a_reader_of_what_has_just_expired_is_told_so() {
    let db = database().await;
    let mut owner = Owner::new(&db, LONG).await;
    let id = id_of(&db, 50, 1).await;
    owner.write(&[unit(id, completed(new_submission()))]).await;
    // Between the two steps of a deletion: the submission is gone, its outcomes are there.
    db.pooled().await.unwrap().execute("DELETE FROM submissions", &[]).await.unwrap();
    let all = super::super::ResultsLimit { tasks: 10, bytes: 1_000 };
    let read = super::super::results(&db, id, 0, all).await;
    assert!(matches!(read, Err(StoreError::Expired)), "{read:?}");
}

#[tokio::test]
async fn what_was_opened_and_forgotten_is_found_by_its_latest_batch_or_outcome() {
    let db = database().await;
    let mut owner = Owner::new(&db, LONG).await;
    let (empty, with_batch, sealed) = (id_of(&db, 1, 1).await, id_of(&db, 1, 2).await, id_of(&db, 1, 3).await);
    let listed = id_of(&db, 1, 4).await;
    owner
        .write(&[
            unit(empty, [create()]),
            unit(with_batch, [create(), Write::Batch(batch(0, 3, 3, None))]),
            unit(sealed, [create(), Write::Batch(batch(0, 3, 3, None)), Write::Seal { batch_count: 1 }]),
            // Nobody forgets what is listed: it may wait for a worker.
            unit(
                listed,
                [Write::Create(NewSubmission { expansion_uri: Some("s3://bucket/".into()), ..new_submission() })],
            ),
        ])
        .await;
    let connection = db.pooled().await.unwrap();
    connection.execute("UPDATE submissions SET created_at = now() - interval '8 days'", &[]).await.unwrap();
    let tables = Maintenance::open(&db).await.unwrap().unwrap();
    assert_eq!(tables.idle_open(ShardSet::ALL, 7 * DAY).await.unwrap(), [empty]);
    assert!(tables.idle_open(ShardSet::ALL, 9 * DAY).await.unwrap().is_empty());
    connection.execute("UPDATE batches SET created_at = now() - interval '8 days'", &[]).await.unwrap();
    assert_eq!(tables.idle_open(ShardSet::ALL, 7 * DAY).await.unwrap(), [empty, with_batch]);
}

/// 400 days with 50 submissions each: a page and an answer about one submission look into their days only.
#[tokio::test]
async fn with_400_days_of_data_pages_and_answers_read_their_days_only() {
    let db = database().await;
    days_back(&db, 400).await;
    let connection = db.pooled().await.unwrap();
    connection.batch_execute(include_str!("years.sql")).await.unwrap();
    drop(connection);
    assert_eq!(number(&db, "SELECT COUNT(*) FROM submissions").await, 400 * 50);
    let none = std::collections::BTreeMap::new();
    let mut before = None;
    let mut seen = 0;
    let began = std::time::Instant::now();
    for _ in 0..40 {
        let page =
            SubmissionsPage { tenant: "default", page_size: 500, before, state: None, labels: &none, retry_of: None };
        let (listed, more) = submissions(&db, &page).await.unwrap();
        assert!(listed.iter().all(|one| one.succeeded_tasks == 1 && one.accepted_tasks == 1));
        seen += listed.len();
        before = listed.last().map(|one| Uuid::try_parse(&one.submission_id).unwrap());
        assert_eq!(more, seen < 400 * 50);
    }
    println!("40 pages of 500: {:?}", began.elapsed());
    assert_eq!(seen, 400 * 50);
    // The statement about one submission names one partition of each table in its plan.
    let sql = include_str!("../sql/submission.sql").replace("$1", &format!("'{}'", before.unwrap()));
    let connection = db.pooled().await.unwrap();
    let plan = connection.simple_query(&format!("EXPLAIN {sql}")).await.unwrap();
    let plan: Vec<String> = plan
        .iter()
        .filter_map(|line| match line {
            hashmesh_database::postgres::SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
            _ => None,
        })
        .collect();
    for table in ["batches_", "results_"] {
        let scans: Vec<&String> = plan.iter().filter(|line| line.contains(" on ") && line.contains(table)).collect();
        assert_eq!(scans.len(), 1, "{plan:#?}");
    }
    assert!(!plan.iter().any(|line| line.contains("Seq Scan")), "{plan:#?}");
    drop(connection);
    let began = std::time::Instant::now();
    let stats = expire_now(&db, 30 * DAY).await;
    println!("370 days expired in {:?}: {stats:?}", began.elapsed());
    assert!((18_400..=18_600).contains(&stats.expired_submissions), "{stats:?}");
    assert!(stats.dropped_partitions >= 2 * 368, "{stats:?}");
    assert_eq!(number(&db, "SELECT COUNT(*) FROM tasks").await, number(&db, "SELECT COUNT(*) FROM submissions").await);
}
