//! What the tests write.

use std::{
    collections::BTreeMap,
    sync::{Arc, LazyLock, Mutex},
    time::Duration,
};

use bytes::Bytes;
use hashmesh::v1::{Algorithm, EndReason, PackedFailure, PackedNames, PackedOutcomes, PackedTasks, TaskError};
use hashmesh_database::{Database, Dedicated};
use prost::Message as _;
use uuid::Uuid;

use super::super::{
    Lane, Ownership,
    model::{NewBatch, NewResults, NewSubmission, Totals, Unit, WorkOrder, Write},
};
use crate::{
    shard::{IdMint, Shard, ShardSet},
    store,
};

/// Longer than any test.
pub(super) const LONG: Duration = Duration::from_secs(600);
/// Over before the next statement.
pub(super) const EXPIRED: Duration = Duration::ZERO;

pub(super) const ALGORITHMS: [Algorithm; 2] = [Algorithm::Sha256, Algorithm::Md5];

/// A cancellation as a caller asks for it.
pub(super) fn cancel() -> Write {
    Write::Cancel { reason: EndReason::Caller, error: None }
}

/// An owner of a database, with a lane.
pub(super) struct Owner {
    pub(super) db: Database,
    pub(super) ownership: Arc<Ownership>,
    pub(super) lane: Lane,
}

impl Owner {
    pub(super) async fn new(db: &Database, lease: Duration) -> Self {
        let ownership = take(db, lease).await;
        let lane = Lane::connect(db, Arc::clone(&ownership)).await.unwrap();
        Self { db: db.clone(), ownership, lane }
    }

    /// Writes units that must all succeed.
    pub(super) async fn write(&mut self, units: &[Unit]) {
        for answer in self.lane.commit(units).await.unwrap() {
            answer.unwrap();
        }
    }
}

/// A takeover by a new owner.
pub(super) async fn take(db: &Database, lease: Duration) -> Arc<Ownership> {
    take_as(db, "http://somebody", lease).await
}

/// A takeover by a new owner with this address.
pub(super) async fn take_as(db: &Database, address: &str, lease: Duration) -> Arc<Ownership> {
    let ownership = Ownership::new(Uuid::now_v7(), address.to_owned());
    take_all(db, &ownership, lease).await;
    assert_eq!(ownership.held(), ShardSet::ALL);
    Arc::new(ownership)
}

/// Takes whatever is free, one shard after the other.
pub(super) async fn take_all(db: &Database, ownership: &Ownership, lease: Duration) {
    let connection = db.dedicated("takeover").await.unwrap();
    for shard in Shard::all() {
        store::take(&connection, ownership, shard, lease).await.unwrap();
    }
}

/// Nothing here asks whether an algorithm needs it.
pub(super) const PART_BYTES: u64 = 5 << 30;

/// Greater than all that were made before.
pub(super) fn new_id() -> Uuid {
    mint(None)
}

pub(super) fn mint(shard: Option<Shard>) -> Uuid {
    static MINT: LazyLock<Mutex<IdMint>> = LazyLock::new(Mutex::default);
    MINT.lock().unwrap().mint(shard)
}

pub(super) fn unit(submission: Uuid, writes: impl Into<Vec<Write>>) -> Unit {
    Unit { submission, shard: Shard::of(submission), writes: writes.into() }
}

pub(super) fn create() -> Write {
    Write::Create(new_submission())
}

pub(super) fn new_submission() -> NewSubmission {
    NewSubmission {
        cache: hashmesh::v1::CacheMode::Unspecified,
        expansion_uri: None,
        run: None,
        tenant: "default".to_owned(),
        algorithms: ALGORITHMS.to_vec(),
        part_bytes: PART_BYTES,
        max_attempts: 5,
        keep_inputs: false,
        retention_seconds: None,
        labels: BTreeMap::from([("purpose".to_owned(), "a \"test\" \\ ü".to_owned())]),
        retry_of: None,
        order: WorkOrder::default(),
        idempotency: None,
    }
}

/// A batch of small inline tasks.
pub(super) fn batch(sequence: u32, task_count: u32, accepted_through: u64, names: Option<&[&[u8]]>) -> NewBatch {
    let tasks = PackedTasks {
        data: Bytes::from(vec![7; task_count as usize * 4]),
        lengths: vec![4; task_count as usize],
        ..PackedTasks::default()
    };
    NewBatch {
        listed_to: None,
        trace_context: None,
        sequence,
        task_count,
        byte_count: task_count * 4,
        accepted_through,
        fingerprint: [u8::try_from(sequence % 251).unwrap(); 32],
        tasks: tasks.encode_to_vec().into(),
        without_inputs: (!sequence.is_multiple_of(2)).then(Bytes::new),
        names: names.map(|names| PackedNames {
            data: names.concat().into(),
            lengths: names.iter().map(|name| u32::try_from(name.len()).unwrap()).collect(),
        }),
        reference_prefix: sequence.is_multiple_of(2).then(|| format!("file:///{sequence}/")),
    }
}

/// The digests that the tests record for a task: other for each task.
pub(super) fn digests(sequence: u32, task: u32) -> Vec<u8> {
    let seed = [sequence.to_le_bytes(), task.to_le_bytes()].concat();
    seed.into_iter().cycle().take(48).collect()
}

/// A row of results for neighbouring tasks with these statuses; `before` are the totals so far.
pub(super) fn results(sequence: u32, first_task: u32, statuses: &[u8], before: Totals) -> NewResults {
    let mut totals = before;
    let mut outcomes = PackedOutcomes::default();
    let mut packed = Vec::new();
    for ((offset, task), status) in (0..).zip(first_task..).zip(statuses) {
        let digests = digests(sequence, task);
        match *status {
            1 => totals.succeeded += 1,
            2 => totals.mismatched += 1,
            _ => totals.failed += 1,
        }
        if *status == 3 {
            packed.extend(vec![0; digests.len()]);
            let error = Some(TaskError { reason: "SOURCE_NOT_FOUND".to_owned(), message: format!("task {task}") });
            outcomes.failures.push(PackedFailure { offset, error });
        } else {
            packed.extend(digests);
            totals.hashed_bytes += 4;
        }
    }
    outcomes.digests = packed.into();
    NewResults {
        position: before.recorded() + 1,
        sequence,
        first_task,
        task_count: u32::try_from(statuses.len()).unwrap(),
        attempt: 1 + first_task % 3,
        statuses: statuses.iter().any(|status| *status != 1).then(|| Bytes::copy_from_slice(statuses)),
        outcomes: outcomes.encode_to_vec().into(),
        kernel: "test/portable".to_owned(),
        totals,
        trace_context: None,
    }
}

/// The answer to a question that has one number for an answer.
pub(super) async fn number(db: &Database, sql: &str) -> i64 {
    db.pooled().await.unwrap().query_one(sql, &[]).await.unwrap().get(0)
}

/// Waits until the condition holds: asks again and again, as fast as Postgres answers.
pub(super) async fn until(connection: &Dedicated, condition: &str) {
    let question = format!("SELECT ({condition})::boolean");
    let holds = async {
        while !connection.query_one(&question, &[]).await.unwrap().get::<_, bool>(0) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), holds).await.unwrap_or_else(|_| panic!("never: {condition}"));
}

/// Waits until nobody looks after the tables: a connection that is dropped takes its lock with it, a moment later.
pub(super) async fn unlocked(db: &Database) {
    let backends = "SELECT COUNT(*) FROM pg_locks WHERE locktype = 'advisory' AND granted AND objsubid = 2 \
                    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
    while number(db, backends).await > 0 {}
}
