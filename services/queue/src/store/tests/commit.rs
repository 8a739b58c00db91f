//! Group commit, and what is written behind.

use std::collections::BTreeMap;

use hashmesh::v1::{EndReason, PackedNames, SubmissionState, TaskError};
use uuid::Uuid;

use super::{
    super::{
        Also, UnitError, find_key, lease_rows, load_one,
        model::{IdempotencyKey, LeaseRow, NewBatch, NewSubmission, RecoveredLease, Totals, Unit, Write},
        submission, write_behind,
    },
    cluster::database,
    fixture::{LONG, Owner, batch, cancel, create, mint, new_id, new_submission, number, results, unit},
};
use crate::core::Resolved;
use crate::shard::{Shard, ShardSet};

const BATCHES: &str = "SELECT COUNT(*) FROM batches";

fn keyed(key: &str, fingerprint: u8) -> Unit {
    let idempotency = Some(IdempotencyKey { key: key.to_owned(), options_fingerprint: [fingerprint; 32] });
    let shard = Shard::of_key("default", key);
    let id = mint(Some(shard));
    unit(id, [Write::Create(NewSubmission { idempotency, ..new_submission() })])
}

#[tokio::test]
async fn a_bad_unit_fails_itself_and_what_is_behind_it_and_nothing_else() {
    let db = database().await;
    let mut owner = Owner::new(&db, LONG).await;
    let (old, new, last) = (new_id(), new_id(), new_id());
    let first = keyed("key", 1);
    owner.write(&[unit(old, [create(), Write::Batch(batch(0, 2, 2, None))]), first.clone()]).await;

    let group = [
        unit(new, [create(), Write::Batch(batch(0, 2, 2, None))]),
        unit(old, [Write::Batch(batch(0, 2, 2, None))]),
        keyed("key", 2),
        unit(old, [Write::Batch(batch(1, 2, 4, None))]),
        unit(last, [create(), Write::Seal { batch_count: 0 }, Write::Complete]),
        unit(new, [Write::Batch(batch(1, 2, 4, None)), Write::Seal { batch_count: 2 }]),
        unit(new_id(), [Write::Seal { batch_count: 1 }]),
    ];
    let answers = owner.lane.commit(&group).await.unwrap();
    assert!(answers[0].is_ok() && answers[4].is_ok() && answers[5].is_ok(), "{answers:?}");
    assert!(matches!(&answers[1], Err(UnitError::Refused(text)) if text.contains("batches_")), "{answers:?}");
    assert!(matches!(answers[2], Err(UnitError::DuplicateKey)), "{answers:?}");
    assert!(matches!(answers[3], Err(UnitError::Behind)), "{answers:?}");
    assert!(matches!(&answers[6], Err(UnitError::Refused(text)) if text.contains("wanted 1")), "{answers:?}");

    assert_eq!(load_one(&db, old).await.unwrap().unwrap().next_sequence, 1);
    assert_eq!(load_one(&db, new).await.unwrap().unwrap().batch_count, Some(2));
    assert_eq!(submission(&db, last).await.unwrap().unwrap().1.state(), SubmissionState::Completed);
    let found = find_key(&db, first.shard, "default", "key").await.unwrap();
    assert_eq!(found, Some((first.submission, [1; 32])));
    assert_eq!(find_key(&db, first.shard, "default", "other").await.unwrap(), None);
}

#[tokio::test]
async fn a_unit_is_written_whole_or_not_at_all() {
    let db = database().await;
    let mut owner = Owner::new(&db, LONG).await;
    let good = batch(0, 2, 2, None);
    let mut torn = batch(1, 2, 4, None);
    torn.names = Some(PackedNames { data: "name".into(), lengths: vec![4] });
    let mut zero = new_submission();
    zero.labels = BTreeMap::from([("zero".to_owned(), "\0".to_owned())]);
    for writes in [
        // A repeated key, names that do not fit their tasks, a text that Postgres has no value for, a wrong state.
        vec![create(), Write::Batch(good.clone()), Write::Batch(good.clone())],
        vec![create(), Write::Batch(good.clone()), Write::Batch(torn)],
        vec![Write::Create(zero), Write::Batch(good.clone())],
        vec![create(), Write::Batch(good.clone()), Write::Complete],
    ] {
        let id = new_id();
        let answers = owner.lane.commit(&[unit(id, writes)]).await.unwrap();
        assert!(matches!(answers[..], [Err(UnitError::Refused(_))]), "{answers:?}");
        assert_eq!(number(&db, BATCHES).await, 0);
        assert!(submission(&db, id).await.unwrap().is_none());
    }
    // The lane works on.
    owner.write(&[unit(new_id(), [create(), Write::Batch(good)])]).await;
    assert_eq!(number(&db, BATCHES).await, 1);
}

#[tokio::test]
async fn a_finished_submission_takes_no_seal_no_completion_and_no_cancel() {
    let db = database().await;
    let mut owner = Owner::new(&db, LONG).await;
    let (completed, cancelled) = (new_id(), new_id());
    owner
        .write(&[
            unit(completed, [create(), Write::Seal { batch_count: 0 }, Write::Complete]),
            unit(cancelled, [create(), cancel()]),
        ])
        .await;
    for id in [completed, cancelled] {
        for write in [Write::Seal { batch_count: 0 }, Write::Complete, cancel()] {
            let answers = owner.lane.commit(&[unit(id, [write])]).await.unwrap();
            assert!(matches!(answers[..], [Err(UnitError::Refused(_))]), "{answers:?}");
        }
    }
}

#[tokio::test]
async fn a_large_group_of_many_shards_is_one_transaction() {
    let db = database().await;
    let mut owner = Owner::new(&db, LONG).await;
    let group: Vec<Unit> = (0..2_000)
        .map(|_| {
            let recorded = results(0, 0, &[1, 2], Totals::default());
            let writes = [create(), Write::Batch(batch(0, 2, 2, None)), Write::Seal { batch_count: 1 }];
            unit(new_id(), writes.into_iter().chain([Write::Results(recorded), Write::Complete]).collect::<Vec<_>>())
        })
        .collect();
    owner.write(&group).await;
    assert_eq!(number(&db, "SELECT COUNT(*) FROM submissions WHERE state = 'completed'").await, 2_000);
    assert_eq!(number(&db, "SELECT COUNT(DISTINCT xmin::text) FROM batches").await, 1);
    // Each is as the first statement wrote it: none was updated, nor any index written a second time.
    let as_created = "SELECT COUNT(*) FROM submissions
                      WHERE cmin::text::integer < (SELECT MIN(cmin::text::integer) FROM batches)
                        AND ended_at IS NOT NULL AND resolved_through = 1";
    assert_eq!(number(&db, as_created).await, 2_000);
    owner.write(&[]).await;
}

#[tokio::test]
async fn a_lane_looks_submissions_up_by_their_key_whatever_the_planner_knows_of_them() {
    let db = database().await;
    let lane = db.dedicated("a lane").await.unwrap();
    lane.batch_execute(include_str!("../sql/session.sql")).await.unwrap();
    let one = "ARRAY['01a1fd89-c9c8-76ce-9ef5-662ca352dd7b']::uuid[]";
    let statements = [
        ("complete", include_str!("../sql/complete.sql"), one.to_owned()),
        ("seal", include_str!("../sql/seal.sql"), format!("{one}, ARRAY[1]")),
        ("cancel", include_str!("../sql/cancel.sql"), format!("{one}, ARRAY['x'], ARRAY['y'], ARRAY['z']")),
    ];
    for analyzed in [false, true] {
        if analyzed {
            lane.batch_execute("VACUUM ANALYZE submissions").await.unwrap();
        }
        for (name, sql, arguments) in &statements {
            lane.batch_execute(&format!("PREPARE {name}{analyzed} AS {sql}")).await.unwrap();
            let plan = lane.query(&format!("EXPLAIN EXECUTE {name}{analyzed} ({arguments})"), &[]).await.unwrap();
            let plan: Vec<String> = plan.iter().map(|line| line.get(0)).collect();
            let plan = plan.join("\n");
            assert!(plan.contains("submissions_pkey") && !plan.contains("submissions_unfinished"), "{plan}");
        }
    }
}

fn lease(submission: Uuid, first_task: u32, attempt: u32, worker: Option<&str>) -> LeaseRow {
    LeaseRow {
        submission,
        sequence: 0,
        first_task,
        task_count: 2,
        attempt,
        worker: worker.map(str::to_owned),
        strikes: attempt - 1,
    }
}

#[tokio::test]
async fn leases_written_behind_replace_each_other_and_recovery_knows_the_attempts_that_are_open() {
    let db = database().await;
    let mut owner = Owner::new(&db, LONG).await;
    let id = new_id();
    owner
        .write(&[unit(
            id,
            [create(), Write::Batch(batch(0, 9, 9, None)), Write::Results(results(0, 3, &[1], Totals::default()))],
        )])
        .await;

    let first = [lease(id, 0, 1, Some("w")), lease(id, 2, 1, Some("w")), lease(id, 6, 3, None)];
    write_behind(&db, &owner.ownership, &first, &[], Also::default()).await.unwrap();
    // The same key twice: the later row counts.
    let changed = [lease(id, 2, 1, None), lease(id, 2, 2, Some("x"))];
    write_behind(&db, &owner.ownership, &changed, &[(id, 0, 0), (id, 0, 5)], Also::default()).await.unwrap();
    let expected = [lease(id, 2, 2, Some("x")), lease(id, 6, 3, None)];
    assert_eq!(lease_rows(&db, ShardSet::ALL).await.unwrap(), expected.into());

    let recovered = load_one(&db, id).await.unwrap().unwrap();
    let loaded = recovered.loaded.unwrap();
    assert_eq!(loaded.batches[0].recorded, [(3, 1)]);
    let open = |first_task, task_count, attempt, worker: Option<&str>| RecoveredLease {
        first_task,
        task_count,
        attempt,
        strikes: attempt - 1,
        worker: worker.map(str::to_owned),
    };
    assert_eq!(loaded.batches[0].leases, [open(2, 1, 2, Some("x")), open(6, 2, 3, None)]);
}

#[tokio::test]
async fn promise_1_how_far_a_source_is_listed_is_stored_with_the_batch_and_found_by_the_next_owner() {
    let db = database().await;
    let mut owner = Owner::new(&db, LONG).await;
    let id = new_id();
    let expansion_uri = Some("s3://bucket/logs/".to_owned());
    let create = Write::Create(NewSubmission { expansion_uri: expansion_uri.clone(), ..new_submission() });
    owner.write(&[unit(id, [create])]).await;
    let recovered = load_one(&db, id).await.unwrap().unwrap();
    assert_eq!((recovered.expansion_uri, recovered.listed_to), (expansion_uri.clone(), None));

    let page = |sequence, accepted, cursor: &'static [u8]| {
        Write::Batch(NewBatch { listed_to: Some(cursor.into()), ..batch(sequence, 2, accepted, None) })
    };
    owner.write(&[unit(id, [page(0, 2, b"b")]), unit(id, [page(1, 4, b"\xffd\0")])]).await;
    let recovered = load_one(&db, id).await.unwrap().unwrap();
    assert_eq!((recovered.next_sequence, recovered.listed_to.as_deref()), (2, Some(&b"\xffd\0"[..])));

    let error = TaskError { reason: "SOURCE_DENIED".to_owned(), message: "no".to_owned() };
    let failed = Write::Cancel { reason: EndReason::ExpansionFailed, error: Some(error.clone()) };
    owner.write(&[unit(id, [failed])]).await;
    let (_, seen) = submission(&db, id).await.unwrap().unwrap();
    assert_eq!((seen.end_reason(), seen.expansion_error.as_ref()), (EndReason::ExpansionFailed, Some(&error)));
    let expansion = seen.options.unwrap().expansion.map(|expansion| expansion.source_uri);
    assert_eq!(expansion, expansion_uri);
}

fn also(resolved: &[(Uuid, Resolved)]) -> Also<'_> {
    Also { resolved, ..Also::default() }
}

fn through(sequence: u32) -> Resolved {
    Resolved { position: 0, through: sequence, outcomes_after: 0 }
}

#[tokio::test]
async fn how_far_a_submission_is_resolved_never_falls_and_never_waits_for_a_lane() {
    let db = database().await;
    let mut owner = Owner::new(&db, LONG).await;
    let (one, two) = (new_id(), new_id());
    owner.write(&[unit(one, [create()]), unit(two, [create()])]).await;
    let resolved = "SELECT SUM(resolved_through) FROM submissions";
    write_behind(&db, &owner.ownership, &[], &[], also(&[(one, through(7)), (one, through(3)), (two, through(1))]))
        .await
        .unwrap();
    assert_eq!(number(&db, resolved).await, 8);
    write_behind(&db, &owner.ownership, &[], &[], also(&[(one, through(2))])).await.unwrap();
    assert_eq!(number(&db, resolved).await, 8);

    let lane = db.dedicated("a lane").await.unwrap();
    lane.batch_execute("BEGIN").await.unwrap();
    lane.execute("UPDATE submissions SET state = 'sealed' WHERE id = $1", &[&one]).await.unwrap();
    write_behind(&db, &owner.ownership, &[], &[], also(&[(one, through(9)), (two, through(5))])).await.unwrap();
    lane.batch_execute("COMMIT").await.unwrap();
    assert_eq!(number(&db, resolved).await, 12);
}
