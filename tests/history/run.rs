//! One submission, written and read while something happens to the mesh.

use std::{sync::Arc, time::Duration};

use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use super::{
    History, counters, reader,
    writer::{Work, Written},
};
use crate::support::{Database, oracle, wait::PATIENCE};

/// What is under way.
#[derive(Debug)]
pub(crate) struct Run {
    inputs: Arc<Vec<Vec<u8>>>,
    writing: AbortOnDropHandle<Written>,
    reading: Vec<AbortOnDropHandle<(super::Reader, hashmesh::v1::Submission)>>,
    /// Batches that are acknowledged.
    pub(crate) progress: watch::Receiver<u32>,
    pub(crate) batch_count: u32,
    allowed: watch::Sender<u32>,
    enough: watch::Sender<bool>,
}

/// How much.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    pub(crate) tasks: usize,
    pub(crate) batch_tasks: usize,
    /// Batches on their way at once.
    pub(crate) window: u32,
    /// The second reader lets go of its stream after this many outcomes, and resumes.
    pub(crate) cut_after: usize,
}

impl Run {
    /// Starts a writer and two readers, one that stays and one that keeps coming back.
    pub(crate) fn start(server: &str, load: Load) -> Self {
        Self::begin(&[server.to_owned()], load, Duration::ZERO, u32::MAX)
    }

    /// The same, which writes no batch before [`Self::may_write`] allows some: what is to happen in the middle of the work
    /// does, however slow a busy machine is to make it happen.
    pub(crate) fn start_held(server: &str, load: Load) -> Self {
        Self::start_between(&[server.to_owned()], load)
    }

    /// The same between several Gateways: whoever opens a stream again opens it at the next.
    pub(crate) fn start_between(servers: &[String], load: Load) -> Self {
        Self::begin(servers, load, Duration::ZERO, 0)
    }

    /// The same with a pause between two batches.
    pub(crate) fn start_paced(server: &str, load: Load, pace: Duration) -> Self {
        Self::begin(&[server.to_owned()], load, pace, u32::MAX)
    }

    fn begin(servers: &[String], load: Load, pace: Duration, batches: u32) -> Self {
        let inputs: Arc<Vec<Vec<u8>>> =
            Arc::new((0..load.tasks).map(|task| format!("input of task {task}").into_bytes()).collect());
        let (progress_sender, progress) = watch::channel(0);
        let (submission_sender, submission) = watch::channel(None);
        let (allowed, may_write) = watch::channel(batches);
        let (enough, no_more) = watch::channel(false);
        let work = Work {
            servers: servers.to_vec(),
            key: format!("history-{:x}", rand::random::<u128>()),
            inputs: Arc::clone(&inputs),
            batch_tasks: load.batch_tasks,
            window: load.window,
            pace,
            allowed: may_write,
            enough: no_more,
            progress: progress_sender,
            submission: submission_sender,
        };
        let writing = AbortOnDropHandle::new(tokio::spawn(work.write()));
        let reading = [("the reader that stays", None), ("the reader that resumes", Some(load.cut_after))]
            .map(|(name, cut_after)| {
                let (servers, mut submission) = (servers.to_vec(), submission.clone());
                AbortOnDropHandle::new(tokio::spawn(async move {
                    let id = submission.wait_for(Option::is_some).await.expect("the writer opens one").clone();
                    reader::read(servers, id.expect("it is some"), name, cut_after).await
                }))
            })
            .into();
        let batch_count = u32::try_from(load.tasks.div_ceil(load.batch_tasks)).expect("few batches");
        Self { inputs, writing, reading, progress, batch_count, allowed, enough }
    }

    /// Writes up to so many batches from now on.
    pub(crate) fn may_write(&self, batches: u32) {
        self.allowed.send_replace(batches);
    }

    /// The rest, without a limit.
    pub(crate) fn may_write_all(&self) {
        self.may_write(u32::MAX);
    }

    /// Writes nothing new any more, and seals.
    pub(crate) fn stop_writing(&self) {
        self.enough.send_replace(true);
    }

    /// Waits until so many batches are acknowledged.
    pub(crate) async fn acknowledged(&mut self, batches: u32) {
        let reached = self.progress.wait_for(|progress| *progress >= batches);
        match tokio::time::timeout(PATIENCE, reached).await {
            Ok(reached) => drop(reached.expect("the writer lives")),
            Err(_) => panic!("no {batches} batches were acknowledged within {PATIENCE:?}"),
        }
    }

    /// Waits for writer and readers to come to the end.
    pub(crate) async fn finish(self, database: &Database) -> (History, u32) {
        // No limit of its own: whoever waits for something inside has one.
        let Written { submitted, acknowledged, opened, outages } = self.writing.await.expect("the writer did not fail");
        let (mut readers, mut end) = (Vec::new(), None);
        for reading in self.reading {
            let (reader, seen) = reading.await.expect("the reader did not fail");
            readers.push(reader);
            end = Some(seen);
        }
        let tasks = submitted.values().map(|tasks| tasks.end).max().unwrap_or(0);
        let wanted = oracle::digests("sha256", self.inputs[..tasks].iter().map(Vec::as_slice));
        let wanted = wanted.into_iter().map(|digest| digest.try_into().expect("32 bytes")).collect();
        let counter_faults = counters::faults(database).await;
        (History { wanted, submitted, acknowledged, opened, readers, end, counter_faults }, outages)
    }
}
