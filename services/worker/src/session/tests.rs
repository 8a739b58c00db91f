//! The worker's end of the protocol, against a scripted queue behind a real gRPC server on loopback.

mod processes;
mod queue;
mod shards;
mod stopping;

use std::{fs, fs::File, path::PathBuf, time::Duration};

use hashmesh::{
    queue::v1::{
        AdoptedLease, Drain, HeldLease, Hello, Lease, LeaseOutcomes, NackReason, Revoke, Settled, TaskRange,
        lease_tasks_request::Frame as FromWorker, lease_tasks_response::Frame as ToWorker,
    },
    tasks::{file_uri, from_rows},
    v1::{Algorithm, ByteRange, Digest, ObjectReference, OutcomeStatus, Task, TaskRows, task::Source},
};
use hashmesh_runtime::{health::Health, shutdown::Shutdown};
use prost::Message as _;
use tokio::task::JoinHandle;

use self::queue::{ScriptedQueue, Stream};

use crate::{WorkerConfig, WorkerError};

/// A worker on its own task, and the queue that it talks to.
struct Bench {
    queue: ScriptedQueue,
    health: Health,
    shutdown: Shutdown,
    worker: JoinHandle<Result<(), WorkerError>>,
    root: tempfile::TempDir,
}

impl Bench {
    async fn start() -> Self {
        Self::start_with(WorkerConfig { drain_grace: Duration::from_secs(60), ..WorkerConfig::default() }).await
    }

    async fn start_with(config: WorkerConfig) -> Self {
        Self::start_at(ScriptedQueue::start().await, config).await
    }

    async fn start_at(queue: ScriptedQueue, config: WorkerConfig) -> Self {
        let root = tempfile::tempdir().unwrap();
        let config = WorkerConfig {
            queue: std::iter::once(queue.url()).chain(config.queue).collect(),
            worker_id: "worker under test".to_owned(),
            threads: 2,
            allow_sources: vec![root.path().to_owned().into()],
            ..config
        };
        let (health, shutdown) = (Health::new(), Shutdown::new());
        let worker = tokio::spawn(crate::serve(config, health.clone(), shutdown.clone()));
        Self { queue, health, shutdown, worker, root }
    }

    /// A stream that is welcomed, with its first credit taken note of.
    async fn welcomed(&mut self) -> (Stream, Hello, Credited) {
        let mut stream = self.queue.accept().await;
        let hello = stream.hello().await;
        stream.welcome().await;
        let mut credited = Credited::default();
        credited.take(&mut stream).await;
        (stream, hello, credited)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.path().canonicalize().unwrap().join(name)
    }

    fn object(&self, name: &str, range: Option<ByteRange>) -> Task {
        let uri = file_uri(self.path(name).as_os_str().as_encoded_bytes());
        Task { source: Some(Source::Object(ObjectReference { uri, range })), ..Task::default() }
    }

    /// A file that takes minutes to read and no room.
    fn endless(&self, name: &str) -> Task {
        File::create(self.path(name)).unwrap().set_len(1 << 38).unwrap();
        self.object(name, None)
    }
}

/// The credit that the queue has seen.
#[derive(Debug, Default, PartialEq, Eq, Clone, Copy)]
struct Credited {
    tasks: u64,
    bytes: u64,
}

impl Credited {
    async fn take(&mut self, stream: &mut Stream) {
        let credit =
            stream.expect(|frame| if let FromWorker::Credit(credit) = frame { Some(*credit) } else { None }).await;
        self.tasks += u64::from(credit.tasks);
        self.bytes += credit.bytes;
    }
}

fn inline(data: &str) -> Task {
    Task { source: Some(Source::Data(data.as_bytes().to_vec().into())), ..Task::default() }
}

fn expecting(task: Task, hex: &str) -> Task {
    let expected = Digest { algorithm: Algorithm::Sha256.into(), hex: hex.to_owned() };
    Task { expected: vec![expected], ..task }
}

const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

/// A lease of SHA-256 digests of `tasks`, which are the batch's tasks from 10 on.
fn lease(lease_id: u64, tasks: Vec<Task>) -> Lease {
    let task_count = tasks.len() as u32;
    let tasks = from_rows(TaskRows { tasks }).unwrap();
    Lease {
        lease_id,
        epoch: 77,
        submission_id: vec![1; 16].into(),
        sequence: 3,
        first_task: 10,
        task_count,
        attempt: 1,
        fingerprint: vec![9; 32].into(),
        algorithms: vec![Algorithm::Sha256.into()],
        tasks: tasks.encode_to_vec().into(),
        cost_bytes: 1_000 + lease_id,
        ..Lease::default()
    }
}

/// How the worker names that lease to the next queue.
fn claim(lease_id: u64, task_count: u32) -> HeldLease {
    let Lease { submission_id, sequence, first_task, attempt, fingerprint, cost_bytes, .. } =
        lease(lease_id, vec![inline("")]);
    HeldLease { submission_id, sequence, first_task, task_count, attempt, fingerprint, cost_bytes }
}

fn adopted(held_lease: u32, lease_id: u64, ranges: &[(u32, u32)]) -> AdoptedLease {
    let ranges = ranges.iter().map(|&(first_task, task_count)| TaskRange { first_task, task_count });
    AdoptedLease { held_lease, lease_id, epoch: 78, ranges: ranges.collect() }
}

fn outcomes(frame: &FromWorker) -> Option<LeaseOutcomes> {
    if let FromWorker::Outcomes(outcomes) = frame { Some(outcomes.clone()) } else { None }
}

fn nack(frame: &FromWorker) -> Option<(u64, u64, NackReason)> {
    if let FromWorker::Nack(nack) = frame { Some((nack.lease_id, nack.epoch, nack.reason())) } else { None }
}

fn draining(frame: &FromWorker) -> Option<()> {
    matches!(frame, FromWorker::Draining(_)).then_some(())
}

fn sha256(input: &[u8]) -> Vec<u8> {
    let mut digest = Vec::new();
    hashmesh_hash::digest_into(&hashmesh_hash::Recipe::new([Algorithm::Sha256], 0).unwrap(), input, &mut digest);
    digest
}

#[tokio::test]
async fn inline_tasks_come_back_in_one_frame_and_their_credit_after_they_are_settled() {
    let mut bench = Bench::start().await;
    assert!(bench.health.state().is_err(), "not before a queue has welcomed it");
    let (mut stream, hello, granted) = bench.welcomed().await;
    bench.health.wait_serving().await;
    assert_eq!((hello.worker_id.as_str(), hello.session.len(), hello.slots), ("worker under test", 16, 2));
    assert_eq!(hello.algorithms, Algorithm::ALL.map(i32::from));
    let prefix = format!("{}/", file_uri(bench.path("").as_os_str().as_encoded_bytes()).trim_end_matches('/'));
    assert_eq!(hello.sources[0].uri_prefix, prefix);
    assert_eq!(granted, Credited { tasks: 2 * 256 * 1024, bytes: 64 * 1024 * 1024 });

    let inputs: Vec<String> = (0..5_000).map(|number| format!("input {number}")).collect();
    stream.send(ToWorker::Lease(lease(5, inputs.iter().map(|input| inline(input)).collect()))).await;
    let outcomes = stream.expect(outcomes).await;
    assert_eq!((outcomes.lease_id, outcomes.epoch, outcomes.first_task, outcomes.task_count), (5, 77, 10, 5_000));
    assert_eq!(outcomes.fingerprint, vec![9; 32]);
    assert!(outcomes.statuses.is_empty() && outcomes.failures.is_empty() && outcomes.r#final);
    assert_eq!(outcomes.hashed_bytes, inputs.iter().map(|input| input.len() as u64).sum::<u64>());
    assert_eq!(outcomes.kernel, hashmesh_hash::kernel_of(&[Algorithm::Sha256]));
    let wanted: Vec<u8> = inputs.iter().flat_map(|input| sha256(input.as_bytes())).collect();
    assert!(outcomes.digests == wanted);

    // Until then the lease is in every heartbeat, done.
    let progress = stream.progress(5).await;
    assert_eq!((progress.tasks_done, progress.started), (5_000, true));
    stream.send(ToWorker::Settled(Settled { lease_ids: vec![5, 404] })).await;
    let mut again = Credited::default();
    again.take(&mut stream).await;
    assert_eq!(again, Credited { tasks: 5_000, bytes: 1_005 });
}

#[tokio::test]
async fn each_task_of_a_lease_has_its_own_status() {
    let mut bench = Bench::start().await;
    let (mut stream, ..) = bench.welcomed().await;
    fs::write(bench.path("abc"), "abc").unwrap();
    let elsewhere = ObjectReference { uri: "file:///elsewhere/file".to_owned(), range: None };
    let tasks = vec![
        expecting(inline("abc"), ABC),
        expecting(inline("abd"), ABC),
        expecting(bench.object("abc", None), ABC),
        bench.object("abc", Some(ByteRange { offset: 1, length: 1 })),
        bench.object("nothing", None),
        Task { source: Some(Source::Object(elsewhere)), ..Task::default() },
        expecting(bench.object("abc", Some(ByteRange { offset: 1, length: 0 })), ABC),
    ];
    let count = tasks.len();
    stream.send(ToWorker::Lease(lease(1, tasks))).await;
    let outcomes = stream.expect(outcomes).await;
    assert_eq!(outcomes.task_count as usize, count);
    let statuses: Vec<_> =
        outcomes.statuses.iter().map(|status| OutcomeStatus::try_from(i32::from(*status)).unwrap()).collect();
    use OutcomeStatus::{Failed, Mismatched, Succeeded};
    assert_eq!(statuses, [Succeeded, Mismatched, Succeeded, Succeeded, Failed, Failed, Mismatched]);
    let failures: Vec<_> = outcomes
        .failures
        .iter()
        .map(|failure| {
            (failure.offset, failure.error.as_ref().unwrap().reason.as_str(), failure.retryable, failure.uncharged)
        })
        .collect();
    assert_eq!(failures, [(4, "SOURCE_NOT_FOUND", false, false), (5, "CANNOT_REACH_SOURCE", true, true)]);
    let wanted = [b"abc".as_slice(), b"abd", b"abc", b"b"].map(sha256).concat();
    assert_eq!(outcomes.digests[..4 * 32], wanted, "a mismatch has its digests too");
    assert_eq!(outcomes.digests[4 * 32..6 * 32], [0; 64]);
    assert_eq!(outcomes.digests[6 * 32..], sha256(b"bc"));
    assert_eq!(outcomes.hashed_bytes, 3 + 3 + 3 + 1 + 2);
}

#[tokio::test]
async fn what_is_done_of_a_slow_lease_is_sent_while_the_rest_goes_on() {
    let mut bench = Bench::start().await;
    let (mut stream, ..) = bench.welcomed().await;
    fs::write(bench.path("abc"), "abc").unwrap();
    let tasks = vec![bench.object("abc", None), bench.endless("endless"), bench.object("abc", None)];
    stream.send(ToWorker::Lease(lease(1, tasks))).await;
    let (first, second) = (stream.expect(outcomes).await, stream.expect(outcomes).await);
    for (part, first_task) in [(first, 10), (second, 12)] {
        assert_eq!((part.first_task, part.task_count, part.r#final), (first_task, 1, false));
        assert_eq!(part.digests, sha256(b"abc"));
    }
    let before = stream.progress(1).await;
    assert_eq!((before.tasks_done, before.started), (2, true));
    while stream.progress(1).await.bytes_read <= before.bytes_read {}
}

#[tokio::test]
async fn a_revoked_lease_stops_and_its_credit_comes_back() {
    let mut bench = Bench::start().await;
    let (mut stream, ..) = bench.welcomed().await;
    // As many as there are threads: while they run, nothing else of their kind can.
    let endless = (bench.endless("one"), bench.endless("two"));
    stream.send(ToWorker::Lease(lease(1, vec![endless.0, endless.1]))).await;
    while stream.progress(1).await.bytes_read == 0 {}
    stream.send(ToWorker::Revoke(Revoke { lease_id: 1, reason: "for the test".to_owned() })).await;
    let mut credited = Credited::default();
    credited.take(&mut stream).await;
    assert_eq!(credited, Credited { tasks: 2, bytes: 1_001 });

    fs::write(bench.path("abc"), "abc").unwrap();
    stream.send(ToWorker::Lease(lease(2, vec![bench.object("abc", None)]))).await;
    assert_eq!(stream.expect(outcomes).await.lease_id, 2, "the threads are free, and lease 1 sent nothing");
}

#[tokio::test]
async fn inline_leases_do_not_wait_behind_slow_objects() {
    let mut bench = Bench::start().await;
    let (mut stream, ..) = bench.welcomed().await;
    let slow = (0..8).map(|number| bench.endless(&number.to_string())).collect();
    stream.send(ToWorker::Lease(lease(1, slow))).await;
    while stream.progress(1).await.bytes_read == 0 {}
    stream.send(ToWorker::Lease(lease(2, vec![inline("abc")]))).await;
    assert_eq!(stream.expect(outcomes).await.lease_id, 2);
}

#[tokio::test]
async fn leases_that_make_no_sense_or_exceed_the_credit_are_given_back() {
    let mut bench = Bench::start().await;
    let (mut stream, ..) = bench.welcomed().await;
    let unknown = Lease { algorithms: vec![99], ..lease(1, vec![inline("abc")]) };
    let garbage = Lease { tasks: vec![0xff; 10].into(), ..lease(2, vec![inline("abc")]) };
    let miscounted = Lease { task_count: 2, ..lease(3, vec![inline("abc")]) };
    for (lease_id, senseless) in [(1, unknown), (2, garbage), (3, miscounted)] {
        stream.send(ToWorker::Lease(senseless)).await;
        assert_eq!(stream.expect(nack).await, (lease_id, 77, NackReason::Unsupported));
        Credited::default().take(&mut stream).await;
    }
    // One lease may overdraw, the next is too much.
    let huge = Lease { cost_bytes: u64::MAX, ..lease(4, vec![bench.endless("endless")]) };
    stream.send(ToWorker::Lease(huge)).await;
    stream.send(ToWorker::Lease(lease(5, vec![inline("abc")]))).await;
    assert_eq!(stream.expect(nack).await, (5, 77, NackReason::Overloaded));
}

#[tokio::test]
async fn what_had_begun_when_a_stream_was_lost_is_claimed_and_stops_unless_it_is_adopted() {
    let mut bench = Bench::start().await;
    let (mut stream, first, _) = bench.welcomed().await;
    assert_eq!(first.held_leases, []);
    let endless = (bench.endless("one"), bench.endless("two"));
    stream.send(ToWorker::Lease(lease(1, vec![endless.0, endless.1]))).await;
    while stream.progress(1).await.bytes_read == 0 {}
    drop(stream);

    // Not ours, then gone altogether, then ours again.
    bench.queue.accept().await.refuse(hashmesh::error::Reason::NotOwner).await;
    assert!(bench.health.state().is_err());
    bench.queue.accept().await.refuse(hashmesh::error::Reason::UpstreamUnavailable).await;
    let (mut stream, second, granted) = bench.welcomed().await;
    assert_eq!(second.session, first.session, "the same worker");
    assert_eq!(second.held_leases, [claim(1, 2)]);
    assert_eq!(granted.tasks, 2 * 256 * 1024, "with all its credit");
    assert_eq!(stream.heartbeat().await.leases, []);
    bench.health.wait_serving().await;
    fs::write(bench.path("abc"), "abc").unwrap();
    stream.send(ToWorker::Lease(lease(1, vec![bench.object("abc", None)]))).await;
    assert_eq!(stream.expect(outcomes).await.task_count, 1, "the old work has stopped");
}

#[tokio::test]
async fn an_adopted_lease_goes_on_where_it_was_and_what_was_not_recorded_is_sent_again() {
    let mut bench = Bench::start().await;
    let (mut stream, ..) = bench.welcomed().await;
    fs::write(bench.path("abc"), "abc").unwrap();
    let tasks = vec![bench.object("abc", None), bench.endless("endless"), bench.object("abc", None)];
    stream.send(ToWorker::Lease(lease(1, tasks))).await;
    let parts = [stream.expect(outcomes).await.first_task, stream.expect(outcomes).await.first_task];
    assert_eq!(parts, [10, 12]);
    let before = stream.progress(1).await;
    drop(stream);

    let mut stream = bench.queue.accept().await;
    assert_eq!(stream.hello().await.held_leases, [claim(1, 3)]);
    // Task 12 is recorded, 10 is not.
    stream.welcome_adopting(vec![adopted(0, 42, &[(10, 2)])]).await;
    Credited::default().take(&mut stream).await;
    let again = stream.expect(outcomes).await;
    assert_eq!((again.lease_id, again.epoch, again.first_task, again.task_count), (42, 78, 10, 1));
    assert_eq!((again.digests.to_vec(), again.r#final), (sha256(b"abc"), false));
    let after = stream.progress(42).await;
    assert!(after.bytes_read >= before.bytes_read && after.tasks_done == before.tasks_done, "{before:?} {after:?}");
    while stream.progress(42).await.bytes_read <= after.bytes_read {}
    stream.send(ToWorker::Revoke(Revoke { lease_id: 42, reason: "for the test".to_owned() })).await;
    let mut credited = Credited::default();
    credited.take(&mut stream).await;
    assert_eq!(credited, Credited { tasks: 3, bytes: 1_001 }, "the credit that the lease used up");
}

#[tokio::test]
async fn what_was_done_but_not_settled_is_sent_to_the_queue_that_adopts_it() {
    let mut bench = Bench::start().await;
    let (mut stream, ..) = bench.welcomed().await;
    stream.send(ToWorker::Lease(lease(1, vec![inline("abc"), inline("")]))).await;
    stream.expect(outcomes).await;
    drop(stream);

    let mut stream = bench.queue.accept().await;
    assert_eq!(stream.hello().await.held_leases, [claim(1, 2)]);
    stream.welcome_adopting(vec![adopted(0, 7, &[(10, 2)])]).await;
    Credited::default().take(&mut stream).await;
    let again = stream.expect(outcomes).await;
    assert_eq!((again.lease_id, again.epoch, again.task_count, again.r#final), (7, 78, 2, true));
    assert_eq!(again.digests, [sha256(b"abc"), sha256(b"")].concat());
    stream.send(ToWorker::Settled(Settled { lease_ids: vec![7] })).await;
    Credited::default().take(&mut stream).await;
    drop(stream);
    let mut stream = bench.queue.accept().await;
    assert_eq!(stream.hello().await.held_leases, [], "settled is settled");
}

#[tokio::test]
async fn a_lease_of_which_too_little_was_adopted_is_given_back() {
    let mut bench = Bench::start().await;
    let (mut stream, ..) = bench.welcomed().await;
    let tasks = vec![bench.endless("one"), bench.endless("two")];
    stream.send(ToWorker::Lease(lease(1, tasks))).await;
    while stream.progress(1).await.bytes_read == 0 {}
    drop(stream);
    let mut stream = bench.queue.accept().await;
    stream.hello().await;
    stream.welcome_adopting(vec![adopted(0, 7, &[(10, 1)])]).await;
    let mut given = Credited::default();
    given.take(&mut stream).await;
    assert_eq!(stream.expect(nack).await, (7, 78, NackReason::Overloaded));
    given.take(&mut stream).await;
    assert_eq!(given.tasks, 2 * 256 * 1024 + 2);
}
