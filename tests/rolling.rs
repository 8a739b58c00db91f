//! Queue, Workers, Gateway and Hash are replaced one after the other while all of them work (promises 2, 3, 12).

use std::{fs, ops::Range, path::PathBuf, time::Duration};

use bytes::Bytes;
use hashmesh::{
    client::{Client, ClientConfig},
    gateway::v1::{ListSubmissionsRequest, SubmitBatchRequest, submit_batch_request},
    v1::{Algorithm, PackedTasks, QueueStats, SubmissionOptions, SubmissionState, TaskRows},
};
use rustix::process::Signal;
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use crate::{
    history::{
        Digest,
        check::check,
        client::{ClientRun, Load},
        inputs,
    },
    support::{
        Mesh, MeshOptions, Role, heavy, oracle,
        raw::inline,
        rundir,
        wait::{PATIENCE, until},
    },
};

/// Takes seconds to read with the algorithms below, and no room.
const FILE_BYTES: u64 = 256 * 1024 * 1024;
/// Files differ in length, by so many bytes at most.
const LENGTHS: usize = 2;
/// What workers read besides.
const SLACK_BYTES: u64 = FILE_BYTES / 32;

/// A mesh of two Queues, which share the shards, and two Workers, one thread each, and what is counted of it.
#[derive(Debug)]
struct Rolling {
    mesh: Mesh,
    waiting: Role,
    client: Client,
    inline: ClientRun,
    files: ClientRun,
    calls: Calls,
    /// What workers that were replaced had read.
    read_before: u64,
    queues_replaced: u64,
}

impl Rolling {
    async fn start(name: &str) -> Self {
        let root = rundir::directory(name);
        // However busy the machine is.
        let worker_environment = vec![("HASHMESH_DRAIN_GRACE".to_owned(), "10m".to_owned())];
        let sources = vec![root.clone()];
        let options = MeshOptions { workers: 0, sources, worker_environment, ..MeshOptions::default() };
        let mut mesh = Mesh::start(name, options).await;
        let waiting = mesh.second_queue().await;
        mesh.gateway = mesh.gateway_to(&[&mesh.queue, &waiting]).await;
        for _ in 0..2 {
            mesh.add_worker_of(&[mesh.queue.url(), waiting.url()]).await;
        }
        let client = Client::connect(ClientConfig::new(mesh.gateway.url())).expect("a URL");
        let load = Load {
            options: SubmissionOptions::default(),
            batch_tasks: 10,
            ahead: 2_000,
            pace: Duration::from_millis(5),
        };
        let inline = ClientRun::start(&client, load, inputs::tasks).await;
        // The first is the one that is compared; the others take time.
        let algorithms = [Algorithm::Sha256, Algorithm::Sha512, Algorithm::Sha3256, Algorithm::Md5];
        let options =
            SubmissionOptions { algorithms: algorithms.map(i32::from).to_vec(), ..SubmissionOptions::default() };
        let load = Load { options, batch_tasks: 1, ahead: 4, pace: Duration::from_millis(1) };
        let files = ClientRun::start(&client, load, move |tasks| file_tasks(&root, tasks)).await;
        let calls = Calls::start(client.clone());
        Self { mesh, waiting, client, inline, files, calls, read_before: 0, queues_replaced: 0 }
    }

    /// Stops the Queue that works; the one that waits takes over, and the stopped one waits from then on.
    async fn replace_queue(&mut self) {
        self.under_way().await;
        assert_nothing_was_done_twice(&self.client).await;
        // In its first part: what is nearly done is not handed over.
        let worker = self.one_in_the_midst(0..2, FILE_BYTES / 16..FILE_BYTES / 4).await;
        self.hand_over(worker).await;
    }

    /// Stops a worker and starts it again.
    async fn replace_worker(&mut self, worker: usize) {
        self.under_way().await;
        assert_nothing_was_done_twice(&self.client).await;
        self.one_in_the_midst(worker..worker + 1, FILE_BYTES / 4..FILE_BYTES * 3 / 4).await;
        self.mesh.workers[worker].process.signal(Signal::TERM);
        self.restart_stopped(worker).await;
    }

    /// Stops a worker and the Queue that it has its work from, at the same time.
    async fn replace_queue_and_worker(&mut self, worker: usize) {
        self.under_way().await;
        assert_nothing_was_done_twice(&self.client).await;
        self.one_in_the_midst(worker..worker + 1, FILE_BYTES / 16..FILE_BYTES / 4).await;
        self.mesh.workers[worker].process.signal(Signal::TERM);
        self.hand_over(worker).await;
        self.restart_stopped(worker).await;
    }

    /// Stops the only Gateway and starts it again.
    async fn replace_gateway(&mut self) {
        self.under_way().await;
        let reconnects = self.inline.reconnects();
        assert!(self.mesh.gateway.terminate().await.success());
        self.mesh.gateway.restart().await;
        self.mesh.gateway.ready().await;
        let noticed = async || (self.inline.reconnects() > reconnects).then_some(());
        until("the client to be back", PATIENCE, noticed).await;
    }

    /// Stops the only Hash service and starts it again.
    async fn replace_hash(&mut self) {
        self.under_way().await;
        assert!(self.mesh.hash.terminate().await.success());
        self.mesh.hash.restart().await;
        self.mesh.hash.ready().await;
    }

    /// Stops the Queue while a worker is in the midst of a file, which the one that waits must adopt.
    async fn hand_over(&mut self, worker: usize) {
        let file = self.place(worker).0;
        assert!(self.mesh.queue.terminate().await.success());
        assert_eq!(self.place(worker).0, file, "it came too late to matter");
        self.waiting.ready().await;
        std::mem::swap(&mut self.mesh.queue, &mut self.waiting);
        self.waiting.restart().await;
        self.queues_replaced += 1;
    }

    /// Waits until a worker that was told to stop has ended, and starts it again.
    async fn restart_stopped(&mut self, worker: usize) {
        let role = &mut self.mesh.workers[worker];
        let mut read = 0;
        // It reads its file to the end.
        let ended = until("the worker to end", PATIENCE * 5, async || {
            read = read.max(role.process.read_bytes().unwrap_or(0));
            role.process.exited()
        });
        assert!(ended.await.success());
        self.read_before += read;
        role.restart().await;
        role.ready().await;
    }

    /// Waits until everything moves, through all that was started last.
    async fn under_way(&self) {
        let (inline, calls) = (self.inline.outcomes(), self.calls.made());
        until("the load to be under way", PATIENCE, async || {
            (self.inline.outcomes() >= inline + 1_000 && self.calls.made() >= calls + 3).then_some(())
        })
        .await;
    }

    /// Waits until one of these workers has read so much of a file, and all hold leases.
    async fn one_in_the_midst(&self, workers: Range<usize>, part: Range<u64>) -> usize {
        until("a worker to be in the midst of a file", PATIENCE, async || {
            let stats = queue_stats(&self.client).await;
            let all_hold = stats.workers.len() == 2 && stats.workers.iter().all(|worker| worker.leases > 0);
            workers.clone().find(|worker| all_hold && part.contains(&self.place(*worker).1))
        })
        .await
    }

    /// How many files a worker has read, and how much of the next.
    fn place(&self, worker: usize) -> (u64, u64) {
        let read = self.mesh.workers[worker].process.read_bytes().expect("it runs");
        (read / FILE_BYTES, read % FILE_BYTES)
    }

    /// Lets everything end, and checks it.
    async fn finish(self) {
        self.inline.stop_writing();
        self.files.stop_writing();
        self.calls.finish().await;
        let (reconnects, replaced) = (self.inline.reconnects(), self.queues_replaced);
        assert!(reconnects >= replaced, "{replaced} queues were replaced, and the client noticed {reconnects}");
        let database = &self.mesh.database;
        let inline = self.inline.finish(inputs::digests, database).await;
        let files = self.files.finish(file_digests, database).await;
        assert_nothing_was_done_twice(&self.client).await;
        check(&inline).assert_clean();
        check(&files).assert_clean();
        let lives = self.mesh.workers.iter().map(|worker| worker.process.read_bytes().expect("it runs"));
        let read = self.read_before + lives.sum::<u64>();
        let to_read = files.wanted.len() as u64 * FILE_BYTES;
        assert!(read < to_read + SLACK_BYTES, "{read} bytes were read of {to_read}: something was read twice");
    }
}

async fn queue_stats(client: &Client) -> QueueStats {
    client.get_stats().await.expect("no call fails").queue.expect("it has one")
}

/// As far as the Queue knows that works now.
async fn assert_nothing_was_done_twice(client: &Client) {
    let stats = queue_stats(client).await;
    let counters = (stats.refused_tasks, stats.rescued_leases, stats.retried_tasks);
    assert_eq!(counters, (0, 0, 0), "refused, rescued, retried: {stats:?}");
}

/// Files of zeros that are made as they are wanted.
fn file_tasks(root: &std::path::Path, tasks: Range<usize>) -> PackedTasks {
    use std::os::unix::ffi::OsStrExt as _;
    let mut batch = inputs::builder();
    for task in tasks {
        let path: PathBuf = root.join(task.to_string());
        make_file(&path, task);
        let uri = hashmesh::tasks::file_uri(path.as_os_str().as_bytes());
        batch.push_object(task.to_string().as_bytes(), &uri);
    }
    batch.take()
}

fn make_file(path: &std::path::Path, task: usize) {
    let length = FILE_BYTES + (task % LENGTHS) as u64;
    fs::File::create(path).and_then(|file| file.set_len(length)).expect("a file");
}

fn file_digests(tasks: usize) -> Vec<Digest> {
    let directory = rundir::directory("rolling-oracle");
    let of_lengths: Vec<Digest> = (0..LENGTHS)
        .map(|task| {
            let path = directory.join(task.to_string());
            make_file(&path, task);
            hex::decode(oracle::sha256sum(&path)).expect("hexadecimal").try_into().expect("32 bytes")
        })
        .collect();
    (0..tasks).map(|task| of_lengths[task % LENGTHS]).collect()
}

/// Unary calls of the Rust client, one after the other, as long as they are wanted.
#[derive(Debug)]
struct Calls {
    enough: watch::Sender<bool>,
    made: watch::Receiver<usize>,
    calling: AbortOnDropHandle<Vec<(String, String)>>,
}

impl Calls {
    fn start(client: Client) -> Self {
        let (enough, no_more) = watch::channel(false);
        let (made_sender, made) = watch::channel(0);
        let calling = tokio::spawn(async move {
            let mut answers = Vec::new();
            while !*no_more.borrow() {
                let input = format!("input of call {}", answers.len());
                let digest = call_each(&client, &input).await;
                answers.push((input, digest));
                made_sender.send_replace(answers.len());
            }
            answers
        });
        Self { enough, made, calling: AbortOnDropHandle::new(calling) }
    }

    fn made(&self) -> usize {
        *self.made.borrow()
    }

    async fn finish(self) {
        self.enough.send_replace(true);
        let answers = self.calling.await.expect("no call failed");
        let inputs: Vec<&[u8]> = answers.iter().map(|(input, _)| input.as_bytes()).collect();
        let wanted = oracle::digests("sha256", inputs.into_iter());
        for ((input, digest), wanted) in answers.iter().zip(wanted) {
            assert_eq!(*digest, hex::encode(wanted), "{input}");
        }
    }
}

/// One of each call. Returns the digest of the input.
async fn call_each(client: &Client, input: &str) -> String {
    let tasks = TaskRows { tasks: vec![inline("called", input.to_owned())] };
    let tasks = Some(submit_batch_request::Tasks::Rows(tasks));
    let request = SubmitBatchRequest { tasks, wait: true, ..SubmitBatchRequest::default() };
    let answer = client.submit_batch(request).await.unwrap_or_else(|error| panic!("SubmitBatch: {error:?}"));
    let submission = answer.submission.expect("the answer has it");
    assert_eq!((submission.state(), answer.outcomes.len()), (SubmissionState::Completed, 1));
    let digest = answer.outcomes[0].digests[0].hex.clone();
    let found = client.get_submission(&submission.submission_id).await;
    assert_eq!(found.unwrap_or_else(|error| panic!("GetSubmission: {error:?}")).succeeded_tasks, 1);
    let page =
        client.list_submissions(ListSubmissionsRequest { page_size: 2, ..ListSubmissionsRequest::default() }).await;
    assert_eq!(page.unwrap_or_else(|error| panic!("ListSubmissions: {error:?}")).submissions.len(), 2);
    let computed = client.compute_digest(Bytes::from(input.to_owned()), &[Algorithm::Sha256], 0).await;
    assert_eq!(computed.unwrap_or_else(|error| panic!("ComputeDigest: {error:?}")).digests[0].hex, digest);
    digest
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn promise_12_a_rolling_restart_of_every_role_under_load_fails_no_call_and_repeats_no_work() {
    let _turn = heavy::turn().await;
    let rounds = if heavy::long() { 10 } else { 1 };
    let mut rolling = Rolling::start("rolling").await;
    for _ in 0..rounds {
        rolling.replace_queue().await;
        rolling.replace_worker(0).await;
        rolling.replace_queue_and_worker(1).await;
        rolling.replace_gateway().await;
        rolling.replace_hash().await;
    }
    rolling.finish().await;
}
