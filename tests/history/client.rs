//! A submission that the Rust client writes and reads for as long as it is wanted. The client reconnects by itself: a
//! call of it that fails ends the test.

use std::{collections::BTreeMap, ops::Range, sync::Arc, time::Duration};

use hashmesh::{
    client::{Client, Progress, ResultStream, ResultsQuery, Submitter, Target},
    v1::{PackedTasks, Submission, SubmissionOptions},
};
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use super::{Digest, History, Observed, Reader, Session, counters, reader::observe};
use crate::support::Database;

/// What is written.
#[derive(Clone, Debug)]
pub(crate) struct Load {
    pub(crate) options: SubmissionOptions,
    pub(crate) batch_tasks: usize,
    /// Tasks whose outcomes are awaited, about at most.
    pub(crate) ahead: usize,
    /// Between two batches, at least.
    pub(crate) pace: Duration,
}

/// What is under way.
#[derive(Debug)]
pub(crate) struct ClientRun {
    batch_tasks: usize,
    /// No more is written.
    enough: watch::Sender<bool>,
    writing: AbortOnDropHandle<u32>,
    reading: AbortOnDropHandle<(Vec<Observed>, Submission)>,
    progress: Arc<Progress>,
    /// Outcomes that were read.
    read: watch::Receiver<usize>,
}

impl ClientRun {
    /// Starts a writer of whatever tasks `make` makes of their indices, and a reader.
    pub(crate) async fn start(
        client: &Client,
        load: Load,
        make: impl FnMut(Range<usize>) -> PackedTasks + Send + 'static,
    ) -> Self {
        let target = Target::New { options: load.options.clone(), idempotency_key: None };
        let submitter = client.submit(target).await.expect("it opens");
        let results = client.results(ResultsQuery::following(submitter.submission_id()));
        let progress = submitter.progress();
        let (enough, no_more) = watch::channel(false);
        let (read_sender, read) = watch::channel(0);
        let batch_tasks = load.batch_tasks;
        let writing = tokio::spawn(write(submitter, load, make, read.clone(), no_more));
        let reading = tokio::spawn(follow(results, read_sender));
        let (writing, reading) = (AbortOnDropHandle::new(writing), AbortOnDropHandle::new(reading));
        Self { batch_tasks, enough, writing, reading, progress, read }
    }

    /// Outcomes that were read so far.
    pub(crate) fn outcomes(&self) -> usize {
        *self.read.borrow()
    }

    /// How often the writer's stream broke.
    pub(crate) fn reconnects(&self) -> u64 {
        self.progress.reconnects()
    }

    /// Writes no more.
    pub(crate) fn stop_writing(&self) {
        self.enough.send_replace(true);
    }

    /// Seals what was written and waits for the rest of the outcomes. `wanted`: the digests of so many tasks.
    pub(crate) async fn finish(self, wanted: impl FnOnce(usize) -> Vec<Digest>, database: &Database) -> History {
        self.stop_writing();
        let batches = self.writing.await.expect("no call of the writer failed");
        let (outcomes, end) = self.reading.await.expect("no call of the reader failed");
        let tasks_of = |sequence: u32| {
            let first = sequence as usize * self.batch_tasks;
            (sequence, first..first + self.batch_tasks)
        };
        let session = Session { after_position: 0, outcomes };
        History {
            wanted: wanted(batches as usize * self.batch_tasks),
            submitted: (0..batches).map(tasks_of).collect(),
            acknowledged: (0..batches).map(|sequence| (sequence, Duration::ZERO)).collect::<BTreeMap<_, _>>(),
            opened: Vec::new(),
            readers: vec![Reader { name: "the client".to_owned(), sessions: vec![session] }],
            end: Some(end),
            counter_faults: counters::faults(database).await,
        }
    }
}

/// Writes until it is enough, and seals. Returns how many batches.
async fn write(
    mut submitter: Submitter,
    load: Load,
    mut make: impl FnMut(Range<usize>) -> PackedTasks,
    mut read: watch::Receiver<usize>,
    mut no_more: watch::Receiver<bool>,
) -> u32 {
    let mut sent = 0;
    let mut pace = tokio::time::interval(load.pace);
    pace.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        pace.tick().await;
        tokio::select! {
            // An error: the reader failed, and with it the test.
            room = read.wait_for(|read| sent < read + load.ahead) => drop(room.expect("the reader reads")),
            _ = no_more.wait_for(|enough| *enough) => break,
        }
        if *no_more.borrow() {
            break;
        }
        let tasks = make(sent..sent + load.batch_tasks);
        submitter.send(tasks).await.unwrap_or_else(|error| panic!("a batch was not taken: {error:?}"));
        sent += load.batch_tasks;
    }
    let batches = submitter.next_sequence();
    submitter.seal().await.unwrap_or_else(|error| panic!("it was not sealed: {error:?}"));
    batches
}

/// Reads to the end.
async fn follow(mut results: ResultStream, read: watch::Sender<usize>) -> (Vec<Observed>, Submission) {
    let mut outcomes = Vec::new();
    loop {
        let next = results.next().await;
        match next.unwrap_or_else(|error| panic!("outcomes cannot be read: {error:?}")) {
            Some(columns) => {
                assert_eq!(columns.attempt, 1, "nothing failed: {columns:?}");
                observe(&columns, &mut outcomes);
            }
            None => break,
        }
        read.send_replace(outcomes.len());
    }
    (outcomes, results.summary().expect("it came to the end").clone())
}
