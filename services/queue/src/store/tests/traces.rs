//! Where batches and outcomes come from is stored with them.

use std::time::Instant;

use bytes::Bytes;
use futures::StreamExt as _;
use hashmesh::{
    queue::v1::{Lease, LeaseOutcomes, Welcome, lease_tasks_response::Frame},
    v1::PackedTasks,
};
use hashmesh_runtime::trace::TraceContext;
use prost::Message as _;
use uuid::Uuid;

use super::{
    super::{
        ResultsLimit, load_batches, load_unfinished,
        model::{NewBatch, NewResults, Totals, WantedBatches, Write},
        results,
    },
    cluster::database,
    fixture::{self, ALGORITHMS, LONG, Owner, batch, create, new_id, new_submission, unit},
    owners::Queue,
};
use crate::{
    core::{AlgorithmSet, NewBatchMeta, WorkerInfo},
    engine::{Command, CreateSubmission, Created, IncomingBatch, NewWorker, WorkerFrame, to_worker},
    shard::ShardSet,
};

const GIVEN: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

#[tokio::test]
async fn what_is_stored_with_a_batch_and_with_outcomes_is_found_again() {
    let db = database().await;
    let mut owner = Owner::new(&db, LONG).await;
    let id = new_id();
    let context = TraceContext::parse(GIVEN);
    assert!(context.is_some());
    let traced = NewBatch { trace_context: context, ..batch(0, 4, 4, None) };
    let first = NewResults { trace_context: context, ..fixture::results(0, 0, &[1, 1], Totals::default()) };
    let second = fixture::results(0, 2, &[1], first.totals);
    let writes = [create(), Write::Batch(traced), Write::Batch(batch(1, 2, 6, None))];
    owner.write(&[unit(id, writes), unit(id, [Write::Results(first), Write::Results(second)])]).await;

    let contexts = |loaded: &super::super::model::LoadedBatches| -> Vec<Option<TraceContext>> {
        loaded.batches.iter().map(|batch| batch.trace_context).collect()
    };
    let recovered = load_unfinished(&db, ShardSet::ALL, 100).await.unwrap();
    assert_eq!(contexts(recovered[0].loaded.as_ref().unwrap()), [context, None]);
    let (after_position, to_position) = (0, 3);
    let wanted = WantedBatches { submission: id, from: 0, stored: 2, count: 10, after_position, to_position };
    assert_eq!(contexts(&load_batches(&db, &[wanted]).await.unwrap()[0]), [context, None]);

    let limit = ResultsLimit { tasks: u64::MAX, bytes: usize::MAX };
    let rows = results(&db, id, 1, limit).await.unwrap();
    let found: Vec<_> = rows.iter().map(|row| (row.outcomes.first_position, row.trace_context)).collect();
    assert_eq!(found, [(2, context), (3, None)], "a part of a row comes from where the row does");
}

#[tokio::test]
async fn a_context_that_is_damaged_is_none() {
    let db = database().await;
    let mut owner = Owner::new(&db, LONG).await;
    let id = new_id();
    let traced = NewBatch { trace_context: TraceContext::parse(GIVEN), ..batch(0, 4, 4, None) };
    owner.write(&[unit(id, [create(), Write::Batch(traced)])]).await;
    let connection = db.pooled().await.unwrap();
    connection.batch_execute("UPDATE batches SET trace_context = '\\x00'").await.unwrap();
    let recovered = load_unfinished(&db, ShardSet::ALL, 100).await.unwrap();
    assert_eq!(recovered[0].loaded.as_ref().unwrap().batches[0].trace_context, None);
}

/// What the worker's span would be.
const OF_WORKER: &str = "00-0af7651916cd43dd8448eb211c80319c-00f067aa0ba902b7-01";

#[tokio::test]
async fn what_a_batch_brings_goes_to_its_worker_and_what_the_worker_says_to_followers() {
    let db = database().await;
    let queue = Queue::started(&db).await;
    let engine = queue.engine();
    let (frames, mut incoming) = to_worker(16);
    let info = WorkerInfo {
        name: "w".to_owned(),
        session: Uuid::now_v7(),
        slots: 1,
        algorithms: AlgorithmSet::of(&ALGORITHMS),
        source_prefixes: Vec::new(),
        begins_alone: false,
    };
    let new = |reply| NewWorker {
        info,
        claims: Vec::new(),
        welcome: Welcome::default(),
        sources: Vec::new(),
        lists: false,
        frames,
        reply,
    };
    let worker = engine.ask(|reply| Command::WorkerConnected(Box::new(new(reply)))).await.unwrap();
    let credit = WorkerFrame::Credit { tasks: 1_000, bytes: 1 << 30 };
    engine.tell(Command::WorkerFrame { worker, frame: credit }).await.unwrap();

    let tasks = PackedTasks { data: Bytes::from_static(b"ab"), lengths: vec![1, 1], ..PackedTasks::default() };
    let meta = NewBatchMeta {
        sequence: 0,
        task_count: 2,
        byte_count: 2,
        fingerprint: [7; 32],
        reference_prefix: None,
        expected: AlgorithmSet::default(),
    };
    let trace = TraceContext::parse(GIVEN);
    let tasks = tasks.encode_to_vec().into();
    let incoming_batch = IncomingBatch { meta, tasks, names: None, received: Instant::now(), trace };
    let permit = engine.admission().admit_now(incoming_batch.memory_bytes()).unwrap();
    let create = CreateSubmission { new: new_submission(), whole: Some((incoming_batch, permit)), trace: None };
    let Created::New(submission) = engine.create(create).await.unwrap() else { panic!("it is new") };

    let lease: Lease = loop {
        if let Some(Frame::Lease(lease)) = incoming.next().await.unwrap().frame {
            break lease;
        }
    };
    // Nobody exports spans here: then contexts are passed on as they are.
    assert_eq!(lease.traceparent, GIVEN);
    let outcomes = LeaseOutcomes {
        lease_id: lease.lease_id,
        epoch: lease.epoch,
        fingerprint: lease.fingerprint,
        task_count: 2,
        digests: vec![0; 2 * 48].into(),
        hashed_bytes: 2,
        r#final: true,
        traceparent: OF_WORKER.to_owned(),
        ..LeaseOutcomes::default()
    };
    let frame = WorkerFrame::Outcomes(Box::new(outcomes), Instant::now());
    engine.tell(Command::WorkerFrame { worker, frame }).await.unwrap();
    submission.wait(|tail| tail.ended).await.unwrap();

    let of_worker = TraceContext::parse(OF_WORKER);
    let followed = submission.recent_after(0, usize::MAX).unwrap();
    assert_eq!(followed.iter().map(|row| row.trace_context).collect::<Vec<_>>(), [of_worker]);
    let limit = ResultsLimit { tasks: u64::MAX, bytes: usize::MAX };
    let stored = results(&db, submission.id, 0, limit).await.unwrap();
    assert_eq!(stored.iter().map(|row| row.trace_context).collect::<Vec<_>>(), [of_worker]);
    let sql = "SELECT COUNT(*) FROM batches WHERE octet_length(trace_context) = 25";
    assert_eq!(fixture::number(&db, sql).await, 1);
    drop((engine, incoming));
    queue.stop().await;
}
