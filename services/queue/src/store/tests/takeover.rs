//! Takeovers, and what old owners cannot do after them.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures::SinkExt as _;
use hashmesh_database::{
    Dedicated,
    postgres::{CopyInSink, error::SqlState},
};
use uuid::Uuid;

use super::{
    super::{
        Also, LaneError, StoreError,
        fence::{CHECK_EPOCHS, LOCK_CLASS, LOCK_SHARDS},
        leave, look,
        model::{LeaseRow, Write},
        release, renew, take, write_behind,
    },
    cluster::database,
    fixture::{
        EXPIRED, LONG, Owner, batch, cancel, create, new_id, number, take as take_over, take_all, take_as, unit, until,
    },
};
use crate::core::Resolved;
use crate::{
    picture::Picture,
    shard::{Shard, ShardSet},
    store::Ownership,
};

const BATCHES: &str = "SELECT COUNT(*) FROM batches";
const WAITING: &str = "EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted)";

/// A transaction of an old owner, step by step.
struct Scripted {
    connection: Dedicated,
    shard: i16,
    epoch: i64,
}

impl Scripted {
    async fn begin(owner: &Owner, submission: Uuid) -> Self {
        let connection = owner.db.dedicated("scripted").await.unwrap();
        connection.batch_execute("BEGIN; SELECT COUNT(*) FROM shards").await.unwrap();
        let shard = Shard::of(submission);
        Self { connection, shard: i16::from(shard.number()), epoch: owner.ownership.epoch(shard) }
    }

    async fn lock(&self) {
        self.connection.execute(LOCK_SHARDS, &[&LOCK_CLASS, &vec![self.shard]]).await.unwrap();
    }

    async fn check(&self) -> Result<u64, String> {
        let checked = self.connection.execute(CHECK_EPOCHS, &[&vec![self.shard], &vec![self.epoch]]).await;
        checked.map_err(|error| error.code().map_or_else(|| error.to_string(), |code| code.code().to_owned()))
    }
}

#[tokio::test]
async fn promise_3_a_stale_owner_writes_nothing_after_a_takeover() {
    let db = database().await;
    let mut stale = Owner::new(&db, EXPIRED).await;
    let id = new_id();
    stale.write(&[unit(id, [create()])]).await;
    take_over(&db, LONG).await;

    let written = stale.lane.commit(&[unit(id, [Write::Batch(batch(0, 3, 3, None))])]).await;
    assert!(matches!(written, Err(LaneError::Fenced(_))), "{written:?}");
    assert_eq!(number(&db, BATCHES).await, 0);

    // Not another chance either, and nothing behind the work.
    let again = stale.lane.commit(&[unit(id, [cancel()])]).await;
    assert!(matches!(again, Err(LaneError::Unknown(_))), "{again:?}");
    let lease =
        LeaseRow { submission: id, sequence: 0, first_task: 0, task_count: 1, attempt: 2, worker: None, strikes: 0 };
    let behind = write_behind(
        &db,
        &stale.ownership,
        &[lease],
        &[],
        Also { resolved: &[(id, Resolved { position: 0, through: 1, outcomes_after: 0 })], ..Also::default() },
    )
    .await;
    assert!(matches!(behind, Err(StoreError::Fenced { .. })), "{behind:?}");
    assert_eq!(number(&db, "SELECT COUNT(*) FROM leases").await, 0);
    assert_eq!(number(&db, "SELECT resolved_through::bigint FROM submissions").await, 0);
}

#[tokio::test]
async fn promise_3_a_stale_insert_that_waited_for_the_lock_during_the_takeover_is_refused() {
    let db = database().await;
    let mut stale = Owner::new(&db, LONG).await;
    let id = new_id();
    stale.write(&[unit(id, [create()])]).await;

    // The takeover's transaction, by hand: it has the lock, and the epoch is not raised yet.
    let takeover = db.dedicated("takeover").await.unwrap();
    let shard = i32::from(Shard::of(id).number());
    takeover.batch_execute("BEGIN").await.unwrap();
    takeover.execute("SELECT pg_advisory_xact_lock($1, $2)", &[&LOCK_CLASS, &shard]).await.unwrap();
    let insert = tokio::spawn(async move {
        let answer = stale.lane.commit(&[unit(id, [Write::Batch(batch(0, 3, 3, None))])]).await;
        (stale, answer)
    });
    let watcher = db.dedicated("watcher").await.unwrap();
    until(&watcher, WAITING).await;
    takeover.execute("UPDATE shards SET epoch = epoch + 1 WHERE shard::integer = $1", &[&shard]).await.unwrap();
    takeover.batch_execute("COMMIT").await.unwrap();

    let (_stale, answer) = insert.await.unwrap();
    assert!(matches!(answer, Err(LaneError::Fenced(_))), "{answer:?}");
    assert_eq!(number(&db, BATCHES).await, 0);
}

#[tokio::test]
async fn promise_3_a_transaction_that_began_before_the_takeover_is_refused() {
    let db = database().await;
    let stale = Owner::new(&db, EXPIRED).await;
    let id = new_id();
    let old = Scripted::begin(&stale, id).await;
    take_over(&db, LONG).await;
    old.lock().await;
    assert_eq!(old.check().await, Err("HM001".to_owned()));
}

#[tokio::test]
async fn promise_3_a_write_outside_of_a_checked_transaction_is_refused() {
    let db = database().await;
    let owner = Owner::new(&db, LONG).await;
    let scripted = Scripted::begin(&owner, new_id()).await;
    scripted.lock().await;
    scripted.check().await.unwrap();
    scripted.connection.batch_execute("ROLLBACK").await.unwrap();
    // What was sent behind a BEGIN that failed runs by itself.
    let (shards, tenants, keys) = (vec![0_i16], vec!["default"], vec!["key"]);
    let (ids, fingerprints) = (vec![new_id()], vec![vec![0_u8; 32]]);
    let insert = include_str!("../sql/insert_keys.sql");
    let error =
        scripted.connection.execute(insert, &[&shards, &tenants, &keys, &ids, &fingerprints]).await.unwrap_err();
    assert_eq!(error.code().map(SqlState::code), Some("HM002"), "{error:?}");
    assert_eq!(number(&db, "SELECT COUNT(*) FROM idempotency_keys").await, 0);
}

#[tokio::test]
async fn a_takeover_ends_a_backend_that_is_idle_in_its_transaction() {
    let db = database().await;
    let stale = Owner::new(&db, EXPIRED).await;
    let id = new_id();
    let old = Scripted::begin(&stale, id).await;
    old.lock().await;
    old.check().await.unwrap();
    old.connection.execute("INSERT INTO leases VALUES ($1, 0, 0, 1, 1, NULL)", &[&id]).await.unwrap();

    tokio::time::timeout(Duration::from_secs(10), take_over(&db, LONG)).await.unwrap();
    assert!(old.connection.batch_execute("COMMIT").await.is_err());
    assert_eq!(number(&db, "SELECT COUNT(*) FROM leases").await, 0);
}

#[tokio::test]
async fn a_takeover_ends_a_backend_whose_client_stopped_in_the_middle_of_a_copy() {
    let db = database().await;
    let stale = Owner::new(&db, EXPIRED).await;
    let old = Scripted::begin(&stale, new_id()).await;
    old.lock().await;
    old.check().await.unwrap();
    let sink: CopyInSink<Bytes> =
        old.connection.copy_in("COPY batches (submission_id, sequence) FROM STDIN").await.unwrap();
    let mut sink = Box::pin(sink);
    sink.send(Bytes::from_static(b"half a row")).await.unwrap();

    tokio::time::timeout(Duration::from_secs(10), take_over(&db, LONG)).await.unwrap();
    assert!(sink.as_mut().finish().await.is_err());
    assert_eq!(number(&db, BATCHES).await, 0);
}

#[tokio::test]
async fn a_lane_whose_backend_is_ended_in_its_transaction_does_not_know_the_outcome() {
    let db = database().await;
    let mut owner = Owner::new(&db, LONG).await;
    let id = new_id();
    owner.write(&[unit(id, [create()])]).await;
    let other = db.dedicated("other").await.unwrap();
    let shard = i32::from(Shard::of(id).number());
    other.execute("SELECT pg_advisory_lock($1, $2)", &[&LOCK_CLASS, &shard]).await.unwrap();
    let end = async {
        until(&other, WAITING).await;
        let ended = "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted";
        other.execute(ended, &[]).await.unwrap();
    };
    let group = [unit(id, [cancel()])];
    let (answer, ()) = tokio::join!(owner.lane.commit(&group), end);
    assert!(matches!(answer, Err(LaneError::Unknown(_))), "{answer:?}");
    let again = owner.lane.commit(&group).await;
    assert!(matches!(again, Err(LaneError::Unknown(_))), "{again:?}");
}

#[tokio::test]
async fn of_processes_that_take_over_at_once_each_shard_has_exactly_one() {
    let db = database().await;
    for round in 1..=5 {
        let [one, two] = ["one", "two"].map(|address| Ownership::new(Uuid::now_v7(), address.to_owned()));
        tokio::join!(take_all(&db, &one, LONG), take_all(&db, &two, LONG));
        assert_eq!((one.held().or(two.held()), one.held().and(two.held())), (ShardSet::ALL, ShardSet::NONE));
        let picture = look(&db.pooled().await.unwrap()).await.unwrap();
        for ownership in [&one, &two] {
            assert_eq!(picture.owned_by(ownership.process()), ownership.held());
            assert!(ownership.held().iter().all(|shard| ownership.epoch(shard) == picture.of(shard).epoch));
            assert!(ownership.held().iter().all(|shard| ownership.epoch(shard) >= round));
            assert!(renew(&db.pooled().await.unwrap(), ownership, LONG).await.unwrap());
            release(&db, ownership, ShardSet::ALL).await.unwrap();
            assert!(ownership.held().is_empty());
        }
    }
}

#[tokio::test]
async fn who_owns_what_and_who_shares_is_seen_by_all() {
    let db = database().await;
    let seen = async || look(&db.pooled().await.unwrap()).await.unwrap();
    assert_eq!(seen().await, Picture::default());
    let first = take_as(&db, "first", LONG).await;
    // Of a version that shares nothing, for all that can be seen.
    assert!(seen().await.processes.iter().all(|process| !process.shares && process.id == first.process()));
    assert!(renew(&db.pooled().await.unwrap(), &first, LONG).await.unwrap());
    let second = Ownership::new(Uuid::now_v7(), "second".to_owned());
    assert!(renew(&db.pooled().await.unwrap(), &second, LONG).await.unwrap());
    let (given, kept): (ShardSet, ShardSet) = (Shard::all().take(20).collect(), Shard::all().skip(20).collect());
    release(&db, &first, given).await.unwrap();
    let picture = seen().await;
    assert_eq!((picture.free(), first.held()), (given, kept));
    assert_eq!(picture.sharing(first.process()).map(|other| other.id).collect::<Vec<_>>(), [second.process()]);
    assert_eq!(picture.address(kept.iter().next().unwrap()), Some("first"));

    take_all(&db, &second, LONG).await;
    let picture = seen().await;
    assert_eq!((picture.owned_by(second.process()), second.held()), (given, given));
    // A late release takes nothing from the next, and a late renewal neither.
    release(&db, &first, given).await.unwrap();
    assert!(renew(&db.pooled().await.unwrap(), &first, LONG).await.unwrap());
    assert_eq!(seen().await, picture);
    // Who has left is not seen any more, even if a renewal was on its way.
    leave(&db, &first).await.unwrap();
    assert!(renew(&db.pooled().await.unwrap(), &first, LONG).await.unwrap());
    assert_eq!(seen().await.sharing(second.process()).count(), 0);
}

#[tokio::test]
async fn who_comes_too_late_to_take_a_shard_ends_nothing_of_its_new_owner() {
    let db = database().await;
    let first = Owner::new(&db, LONG).await;
    let scripted = Scripted::begin(&first, new_id()).await;
    scripted.lock().await;
    scripted.check().await.unwrap();
    // It thinks that the shard is free, and waits in vain for a transaction that is in its right.
    let late = Ownership::new(Uuid::now_v7(), "late".to_owned());
    let connection = db.dedicated("takeover").await.unwrap();
    let shard = Shard::numbered(scripted.shard).unwrap();
    let taken = tokio::spawn(async move { take(&connection, &late, shard, LONG).await.is_ok_and(|taken| taken) });
    assert!(!taken.await.unwrap());
    scripted.connection.batch_execute("COMMIT").await.unwrap();
}

#[tokio::test]
async fn an_owner_that_lost_one_shard_renews_none() {
    let db = database().await;
    let owner = take_over(&db, EXPIRED).await;
    db.pooled()
        .await
        .unwrap()
        .batch_execute("UPDATE shards SET epoch = epoch + 1 WHERE shard = 7; UPDATE shard_leases SET epoch = epoch + 1 WHERE shard = 7")
        .await
        .unwrap();
    assert!(!renew(&db.pooled().await.unwrap(), &owner, LONG).await.unwrap());
    assert_eq!(number(&db, "SELECT COUNT(*) FROM shard_leases WHERE expires_at > now()").await, 0);
}

#[tokio::test]
async fn an_owner_may_take_its_own_shards_again_and_ends_its_own_lanes() {
    let db = database().await;
    let first = take_as(&db, "a", LONG).await;
    let id = new_id();
    let old = Scripted::begin(
        &Owner {
            db: db.clone(),
            ownership: Arc::clone(&first),
            lane: super::super::Lane::connect(&db, Arc::clone(&first)).await.unwrap(),
        },
        id,
    )
    .await;
    old.lock().await;
    let before = first.epoch(Shard::of(id));
    take_all(&db, &first, LONG).await;
    assert_eq!(first.epoch(Shard::of(id)), before + 1);
    assert!(old.check().await.is_err());
}
