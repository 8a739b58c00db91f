//! A mesh whose processes are replaced while all of them work.

use std::{
    collections::BTreeSet,
    ops::Range,
    path::{Path, PathBuf},
    time::Duration,
};

use hashmesh::{
    client::{Client, ClientConfig},
    v1::{Algorithm, QueueStats, SubmissionOptions},
};
use rustix::process::Signal;

use super::files::{FILE_BYTES, file_digests, file_tasks};
use crate::{
    history::{
        check::check,
        client::{ClientRun, Load},
        inputs,
    },
    support::{
        Database, Mesh, MeshOptions, Role,
        calls::Calls,
        rundir,
        wait::{PATIENCE, until},
    },
};

/// What workers read besides files.
const SLACK_BYTES: u64 = FILE_BYTES / 32;

/// A mesh of two Queues, which share the shards, and two Workers, one thread each, and what is counted of it.
#[derive(Debug)]
pub(crate) struct Rolling {
    pub(crate) mesh: Mesh,
    /// The other Queue: it shares the shards, or waits for them if it is of a version that shares nothing.
    waiting: Role,
    /// What a process runs that takes another's place.
    pub(crate) next: PathBuf,
    /// The work went through these roles, run by these programs.
    pub(crate) worked: BTreeSet<(&'static str, PathBuf)>,
    client: Client,
    inline: ClientRun,
    files: ClientRun,
    calls: Calls,
    /// What workers that were replaced had read.
    read_before: u64,
    queues_replaced: u64,
}

impl Rolling {
    /// All of it runs this program, on these tables.
    pub(crate) async fn start(name: &str, program: &Path, database: Database) -> Self {
        let root = rundir::directory(name);
        // However busy the machine is.
        let worker_environment = vec![("HASHMESH_DRAIN_GRACE".to_owned(), "10m".to_owned())];
        let sources = vec![root.clone()];
        let program = program.to_owned();
        let options = MeshOptions { program, workers: 0, sources, worker_environment, ..MeshOptions::default() };
        let next = options.program.clone();
        let mut mesh = Mesh::start_with(database, name, options).await;
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
        let worked = BTreeSet::new();
        Self { mesh, waiting, next, worked, client, inline, files, calls, read_before: 0, queues_replaced: 0 }
    }

    /// Stops the Queue that works; the one that waits takes over, and the stopped one waits from then on.
    pub(crate) async fn replace_queue(&mut self) {
        self.under_way().await;
        assert_nothing_was_done_twice(&self.client).await;
        // In its first part: what is nearly done is not handed over.
        let worker = self.one_in_the_midst(0..2, FILE_BYTES / 16..FILE_BYTES / 4).await;
        self.hand_over(worker).await;
    }

    /// Stops the Queue that waits, and starts it again beside the one that works.
    pub(crate) async fn replace_waiting_queue(&mut self) {
        self.under_way().await;
        assert!(self.waiting.terminate().await.success());
        self.waiting.set_program(&self.next);
        self.waiting.restart().await;
    }

    /// Stops a worker and starts it again.
    pub(crate) async fn replace_worker(&mut self, worker: usize) {
        self.under_way().await;
        assert_nothing_was_done_twice(&self.client).await;
        self.one_in_the_midst(worker..worker + 1, FILE_BYTES / 4..FILE_BYTES * 3 / 4).await;
        self.mesh.workers[worker].process.signal(Signal::TERM);
        self.restart_stopped(worker).await;
    }

    /// Stops a worker and the Queue that it has its work from, at the same time.
    pub(crate) async fn replace_queue_and_worker(&mut self, worker: usize) {
        self.under_way().await;
        assert_nothing_was_done_twice(&self.client).await;
        self.one_in_the_midst(worker..worker + 1, FILE_BYTES / 16..FILE_BYTES / 4).await;
        self.mesh.workers[worker].process.signal(Signal::TERM);
        self.hand_over(worker).await;
        self.restart_stopped(worker).await;
    }

    /// Stops the only Gateway and starts it again.
    pub(crate) async fn replace_gateway(&mut self) {
        self.under_way().await;
        let reconnects = self.inline.reconnects();
        assert!(self.mesh.gateway.terminate().await.success());
        self.mesh.gateway.set_program(&self.next);
        self.mesh.gateway.restart().await;
        self.mesh.gateway.ready().await;
        let noticed = async || (self.inline.reconnects() > reconnects).then_some(());
        until("the client to be back", PATIENCE, noticed).await;
    }

    /// Stops the only Hash service and starts it again.
    pub(crate) async fn replace_hash(&mut self) {
        self.under_way().await;
        assert!(self.mesh.hash.terminate().await.success());
        self.mesh.hash.set_program(&self.next);
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
        self.waiting.set_program(&self.next);
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
        role.set_program(&self.next);
        role.restart().await;
        role.ready().await;
    }

    /// Waits until everything moves, through all that was started last.
    pub(crate) async fn under_way(&mut self) {
        let (inline, calls) = (self.inline.outcomes(), self.calls.made());
        until("the load to be under way", PATIENCE, async || {
            (self.inline.outcomes() >= inline + 1_000 && self.calls.made() >= calls + 3).then_some(())
        })
        .await;
        let Mesh { queue, gateway, hash, .. } = &self.mesh;
        for (role, process) in [("queue", queue), ("gateway", gateway), ("hash", hash)] {
            self.worked.insert((role, process.process.executable()));
        }
    }

    /// Waits until one of these workers has read so much of a file, and all hold leases.
    pub(crate) async fn one_in_the_midst(&mut self, workers: Range<usize>, part: Range<u64>) -> usize {
        let found = until("a worker to be in the midst of a file", PATIENCE, async || {
            let stats = queue_stats(&self.client).await;
            let all_hold = stats.workers.len() == 2 && stats.workers.iter().all(|worker| worker.leases > 0);
            workers.clone().find(|worker| all_hold && part.contains(&self.place(*worker).1))
        })
        .await;
        for worker in &self.mesh.workers {
            self.worked.insert(("worker", worker.process.executable()));
        }
        found
    }

    /// How many files a worker has read, and how much of the next.
    fn place(&self, worker: usize) -> (u64, u64) {
        let read = self.mesh.workers[worker].process.read_bytes().expect("it runs");
        (read / FILE_BYTES, read % FILE_BYTES)
    }

    /// The work went through every role of each of these programs.
    pub(crate) fn assert_all_worked(&self, programs: &[&PathBuf]) {
        for role in ["gateway", "queue", "hash", "worker"] {
            for program in programs {
                assert!(self.worked.contains(&(role, (*program).clone())), "{role} of {program:?}: {:?}", self.worked);
            }
        }
    }

    /// Lets everything end, and checks it.
    pub(crate) async fn finish(self) {
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

pub(crate) async fn queue_stats(client: &Client) -> QueueStats {
    client.get_stats().await.expect("no call fails").queue.expect("it has one")
}

/// As far as the Queue knows that works now.
pub(crate) async fn assert_nothing_was_done_twice(client: &Client) {
    let stats = queue_stats(client).await;
    let counters = (stats.refused_tasks, stats.rescued_leases, stats.retried_tasks);
    assert_eq!(counters, (0, 0, 0), "refused, rescued, retried: {stats:?}");
}
