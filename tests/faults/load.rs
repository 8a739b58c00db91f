//! What goes on while a fault hits: submissions that last from the first moment to the last, each with readers, one after the
//! other that are asked for in one call, some that are cancelled, and digests that are asked for at once.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use hashmesh::{
    gateway::v1::{
        CancelSubmissionRequest, ComputeDigestRequest, OpenSubmission, SubmitBatchRequest, submit_batch_request,
    },
    v1::{Algorithm, TaskRows},
};
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;
use tonic::Status;

use super::stage::Stage;
use crate::{
    history::{
        check::{Verdict, check},
        run::{self, Run},
        writer::transient,
    },
    support::{
        Database, Gateway, oracle,
        raw::{inline, packed},
        wait::{PATIENCE, until},
    },
};

const BATCH_TASKS: usize = 20;
/// Between two batches of a writer.
const PACE: Duration = Duration::from_millis(20);
/// Between two calls of whoever calls.
const CALL_PACE: Duration = Duration::from_millis(20);
/// More than any fault lasts.
const LONGEST: Duration = Duration::from_secs(180);
/// A call that has no answer by then is made again.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);

/// What is under way.
#[derive(Debug)]
pub(super) struct Load {
    writers: Vec<Run>,
    enough: watch::Sender<bool>,
    answered: Answered,
    calling: AbortOnDropHandle<Vec<(String, String)>>,
    cancelling: AbortOnDropHandle<Vec<(String, u64)>>,
    digesting: AbortOnDropHandle<Vec<(String, String)>>,
}

/// How many of each kind of call were answered, and failed and were made again.
#[derive(Clone, Debug, Default)]
pub(super) struct Answered {
    pub(super) batches: Arc<AtomicU64>,
    pub(super) cancels: Arc<AtomicU64>,
    pub(super) digests: Arc<AtomicU64>,
    pub(super) failed: Arc<AtomicU64>,
    pub(super) failed_digests: Arc<AtomicU64>,
}

impl Answered {
    /// All of them.
    pub(super) fn count(&self) -> u64 {
        [&self.batches, &self.cancels, &self.digests].iter().map(|answered| answered.load(Ordering::Relaxed)).sum()
    }
}

/// What became of it.
#[derive(Debug)]
pub(super) struct Done {
    pub(super) verdicts: Vec<Verdict>,
    pub(super) tasks: u64,
    /// How often a writer's stream broke.
    pub(super) outages: u32,
    pub(super) failed_calls: u64,
    /// Cancelled submissions, with the outcomes that were recorded by then.
    pub(super) cancelled: Vec<(String, u64)>,
}

impl Load {
    /// Starts all of it.
    pub(super) fn start(stage: &Stage) -> Self {
        let servers = stage.servers();
        let batches = usize::try_from(LONGEST.as_millis() / PACE.as_millis()).expect("few");
        let load = run::Load { tasks: batches * BATCH_TASKS, batch_tasks: BATCH_TASKS, window: 8, cut_after: 1_000 };
        let writers = servers.iter().map(|server| Run::start_paced(server, load, PACE)).collect();
        let (enough, no_more) = watch::channel(false);
        let answered = Answered::default();
        let caller =
            |server: &str| Caller { server: server.to_owned(), no_more: no_more.clone(), answered: answered.clone() };
        let calling = tokio::spawn(caller(&servers[0]).call());
        let cancelling = tokio::spawn(caller(&servers[1]).cancel());
        let digesting = tokio::spawn(caller(&servers[0]).digest());
        let [calling, digesting] = [calling, digesting].map(AbortOnDropHandle::new);
        Self { writers, enough, answered, calling, cancelling: AbortOnDropHandle::new(cancelling), digesting }
    }

    pub(super) fn answered(&self) -> &Answered {
        &self.answered
    }

    /// Batches that are acknowledged, of all writers.
    pub(super) fn acknowledged(&self) -> u64 {
        self.writers.iter().map(|writer| u64::from(*writer.progress.borrow())).sum()
    }

    /// Waits until every writer has so many more batches acknowledged, and somebody who calls has an answer to a call that
    /// was made from now on; says how long that took.
    pub(super) async fn goes_on(&mut self, batches: u32) -> Duration {
        let started = Instant::now();
        for writer in &mut self.writers {
            let wanted = *writer.progress.borrow() + batches;
            let reached = writer.progress.wait_for(|progress| *progress >= wanted);
            let reached = tokio::time::timeout(PATIENCE, reached).await;
            reached.expect("the load goes on").expect("the writer lives");
        }
        let took = started.elapsed();
        // The first may have been on its way.
        let wanted = self.answered.batches.load(Ordering::Relaxed) + 2;
        let answered = async || (self.answered.batches.load(Ordering::Relaxed) >= wanted).then_some(());
        until("calls to be answered", PATIENCE, answered).await;
        took
    }

    /// The end: everything that was begun is finished, read and judged.
    pub(super) async fn finish(self, database: &Database) -> Done {
        self.enough.send_replace(true);
        let mut done = Done {
            verdicts: Vec::new(),
            tasks: 0,
            outages: 0,
            failed_calls: 0,
            cancelled: self.cancelling.await.expect("nobody who cancels was refused"),
        };
        for writer in &self.writers {
            writer.stop_writing();
        }
        for writer in self.writers {
            let (history, outages) = writer.finish(database).await;
            done.verdicts.push(check(&history));
            done.tasks += history.end.map_or(0, |end| end.recorded_tasks);
            done.outages += outages;
        }
        let called = self.calling.await.expect("no caller was refused");
        let digested = self.digesting.await.expect("no caller was refused");
        done.tasks += called.len() as u64;
        let answers: Vec<_> = called.into_iter().chain(digested).collect();
        let wanted = oracle::digests("sha256", answers.iter().map(|(input, _)| input.as_bytes()));
        for ((input, digest), wanted) in answers.iter().zip(wanted) {
            assert_eq!(*digest, hex::encode(wanted), "{input}");
        }
        done.failed_calls = self.answered.failed.load(Ordering::Relaxed);
        done
    }
}

/// Somebody who makes calls one after the other, and each again until it is answered.
struct Caller {
    server: String,
    no_more: watch::Receiver<bool>,
    answered: Answered,
}

impl Caller {
    /// Tasks of one call each: inputs and digests.
    async fn call(self) -> Vec<(String, String)> {
        let mut answers = Vec::new();
        while !*self.no_more.borrow() {
            let input = format!("input of call {}", answers.len());
            let key = format!("call-{:x}", rand::random::<u128>());
            let digest = loop {
                if let Some(digest) = self.attempt(&self.answered.failed, self.submit_one(&input, &key)).await {
                    break digest;
                }
            };
            answers.push((input, digest));
            self.answered.batches.fetch_add(1, Ordering::Relaxed);
        }
        answers
    }

    /// Submissions that are cancelled while work on them goes on.
    async fn cancel(self) -> Vec<(String, u64)> {
        let mut cancelled = Vec::new();
        while !*self.no_more.borrow() {
            let key = format!("cancel-{:x}", rand::random::<u128>());
            let mut opened = None;
            let recorded = loop {
                if let Some(recorded) = self.attempt(&self.answered.failed, self.cancel_one(&key, &mut opened)).await {
                    break recorded;
                }
            };
            cancelled.push((opened.expect("it was cancelled"), recorded));
            self.answered.cancels.fetch_add(1, Ordering::Relaxed);
        }
        cancelled
    }

    /// Digests that nobody stores: inputs and digests.
    async fn digest(self) -> Vec<(String, String)> {
        let mut answers = Vec::new();
        while !*self.no_more.borrow() {
            let input = format!("input of digest {}", answers.len());
            let digest = loop {
                if let Some(digest) = self.attempt(&self.answered.failed_digests, self.digest_one(&input)).await {
                    break digest;
                }
            };
            answers.push((input, digest));
            self.answered.digests.fetch_add(1, Ordering::Relaxed);
        }
        answers
    }

    /// `None`: it failed as calls do when something is down.
    async fn attempt<T>(&self, failures: &AtomicU64, asked: impl Future<Output = Result<T, Status>>) -> Option<T> {
        tokio::time::sleep(CALL_PACE).await;
        match tokio::time::timeout(CALL_TIMEOUT, asked).await {
            Ok(Ok(answer)) => return Some(answer),
            Ok(Err(status)) if !transient(&status) => panic!("a caller was refused: {status:?}"),
            _ => failures.fetch_add(1, Ordering::Relaxed),
        };
        None
    }

    async fn submit_one(&self, input: &str, key: &str) -> Result<String, Status> {
        let mut gateway = Gateway::connect_patiently(std::slice::from_ref(&self.server), 0).await;
        let tasks = TaskRows { tasks: vec![inline("called", input.to_owned())] };
        let tasks = Some(submit_batch_request::Tasks::Rows(tasks));
        let request =
            SubmitBatchRequest { tasks, idempotency_key: key.to_owned(), wait: true, ..SubmitBatchRequest::default() };
        let answer = gateway.submit_batch(request).await?.into_inner();
        assert_eq!(answer.outcomes.len(), 1, "{answer:?}");
        Ok(answer.outcomes[0].digests[0].hex.clone())
    }

    /// Outcomes that were recorded when it was cancelled. One that is cancelled, though that was not heard, cannot be opened again:
    /// so its id is remembered.
    async fn cancel_one(&self, key: &str, opened: &mut Option<String>) -> Result<u64, Status> {
        let mut gateway = Gateway::connect_patiently(std::slice::from_ref(&self.server), 0).await;
        let submission_id = match opened {
            Some(id) => id.clone(),
            None => {
                let open = OpenSubmission { idempotency_key: key.to_owned(), ..OpenSubmission::default() };
                let (mut stream, answer) = gateway.open(open).await?;
                stream.batch(0, packed((0..200).map(|task| format!("to be cancelled {task}")))).await;
                stream.next().await?;
                opened.insert(answer.submission_id).clone()
            }
        };
        let answer = gateway.cancel_submission(CancelSubmissionRequest { submission_id }).await?.into_inner();
        Ok(answer.submission.expect("the answer has it").recorded_tasks)
    }

    async fn digest_one(&self, input: &str) -> Result<String, Status> {
        let mut gateway = Gateway::connect_patiently(std::slice::from_ref(&self.server), 0).await;
        let (data, algorithms) = (Bytes::from(input.to_owned()), vec![Algorithm::Sha256.into()]);
        let request = ComputeDigestRequest { data, algorithms, ..Default::default() };
        let answer = gateway.compute_digest(request).await?.into_inner();
        Ok(answer.digests[0].hex.clone())
    }
}
