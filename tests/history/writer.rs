//! A client that writes a submission through any number of crashes, and writes down what it was told.

use std::{
    collections::BTreeMap,
    ops::Range,
    sync::Arc,
    time::{Duration, Instant},
};

use hashmesh::{
    error::{Reason, reason},
    gateway::v1::{OpenSubmission, submit_tasks_request},
    v1::{Opened, Seal},
};
use tokio::{
    sync::watch,
    time::{Interval, MissedTickBehavior, interval},
};
use tonic::{Code, Status};

use super::Opening;
use crate::support::{
    Gateway, SubmitStream,
    raw::{Frame, packed},
    wait::{ANSWERED_WITHIN, PATIENCE, Patience},
};

/// What is to be written.
#[derive(Clone, Debug)]
pub(crate) struct Work {
    /// Gateways: each stream is opened at the next.
    pub(crate) servers: Vec<String>,
    /// The key by which a first open that had no answer finds its submission.
    pub(crate) key: String,
    /// Every task's input.
    pub(crate) inputs: Arc<Vec<Vec<u8>>>,
    pub(crate) batch_tasks: usize,
    /// Batches on their way at once.
    pub(crate) window: u32,
    /// Between two batches, at least.
    pub(crate) pace: Duration,
    /// How many batches may be written for now.
    pub(crate) allowed: watch::Receiver<u32>,
    /// Once it is true, no task is written that was not sent already, but for a first one.
    pub(crate) enough: watch::Receiver<bool>,
    /// Says how many batches are acknowledged.
    pub(crate) progress: watch::Sender<u32>,
    /// Says which submission it is.
    pub(crate) submission: watch::Sender<Option<String>>,
}

/// What the writer did and was told; see [`super::History`].
#[derive(Debug, Default)]
pub(crate) struct Written {
    pub(crate) submitted: BTreeMap<u32, Range<usize>>,
    pub(crate) acknowledged: BTreeMap<u32, Duration>,
    pub(crate) opened: Vec<Opening>,
    /// How often the stream broke.
    pub(crate) outages: u32,
}

impl Work {
    /// How many batches there are to be, as far as is known now.
    fn batch_count(&self, written: &Written) -> u32 {
        if *self.enough.borrow() {
            return written.submitted.last_key_value().map_or(1, |(sequence, _)| sequence + 1);
        }
        u32::try_from(self.inputs.len().div_ceil(self.batch_tasks)).expect("few batches")
    }

    fn tasks_of(&self, sequence: u32) -> Range<usize> {
        let first = sequence as usize * self.batch_tasks;
        first..(first + self.batch_tasks).min(self.inputs.len())
    }

    /// Writes everything, seals, and gives what happened.
    pub(crate) async fn write(self) -> Written {
        let started = Instant::now();
        let mut written = Written::default();
        loop {
            match self.one_stream(started, &mut written).await {
                Ok(()) => return written,
                Err(status) if transient(&status) => written.outages += 1,
                Err(status) => panic!("the writer was refused: {status:?}"),
            }
        }
    }

    /// Opens the submission and goes on from where the server says that it stands.
    async fn one_stream(&self, started: Instant, written: &mut Written) -> Result<(), Status> {
        let (mut stream, opened) = self.open(written.outages).await;
        self.submission.send_replace(Some(opened.submission_id.clone()));
        let acknowledged_batches = acknowledged_batches(written);
        written.opened.push(Opening { next_sequence: opened.next_sequence, acknowledged_batches });

        let mut next = opened.next_sequence;
        let mut through = opened.next_sequence;
        // What is stored was accepted, even if that was not heard.
        self.acknowledge(started, written, through);
        let (mut allowed, mut enough) = (self.allowed.clone(), self.enough.clone());
        let mut pace = interval(self.pace.max(Duration::from_nanos(1)));
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut draining = false;
        while through < self.batch_count(written) {
            // What was sent on the stream before may be accepted only now.
            next = next.max(through);
            let end = self.batch_count(written).min(*allowed.borrow_and_update());
            let room = next < end && next - through < self.window;
            let frame = tokio::select! {
                biased;
                () = paced(self.pace, &mut pace), if room => {
                    let tasks = self.tasks_of(next);
                    written.submitted.insert(next, tasks.clone());
                    stream.batch(next, packed(&self.inputs[tasks])).await;
                    next += 1;
                    continue;
                }
                frame = stream.next() => frame?,
                Ok(()) = enough.changed() => continue,
                Ok(()) = allowed.changed() => continue,
            };
            match frame {
                Some(Frame::Accepted(accepted)) => {
                    through = through.max(accepted.through_sequence + 1);
                    self.acknowledge(started, written, through);
                }
                Some(Frame::Rejected(rejected)) => {
                    return Err(hashmesh::error::from_message(&rejected.status.expect("it says why")));
                }
                Some(Frame::Draining(_)) => draining = true,
                None => return Err(Status::unavailable("the stream ended")),
                other => panic!("the writer did not expect {other:?}"),
            }
        }
        let batch_count = self.batch_count(written);
        stream.send(submit_tasks_request::Frame::Seal(Seal { batch_count })).await;
        stream.finish();
        let (frames, ended) = stream.end().await;
        ended?;
        // A stream that is about to end in order may do so before it hears of the seal.
        if draining || frames.iter().any(|frame| matches!(frame, Frame::Draining(_))) {
            return Err(Status::unavailable("the stream was draining"));
        }
        Ok(())
    }

    /// The stream that is opened after so many have broken.
    async fn open(&self, outages: u32) -> (SubmitStream, Opened) {
        let patience = Patience::new("the submission to open", 2 * PATIENCE);
        loop {
            let gateway = Gateway::connect_patiently(&self.servers, outages as usize).await;
            let known = self.submission.borrow().clone();
            let open = match known {
                Some(submission_id) => OpenSubmission { submission_id, ..OpenSubmission::default() },
                None => OpenSubmission { idempotency_key: self.key.clone(), ..OpenSubmission::default() },
            };
            let Ok(opened) = tokio::time::timeout(ANSWERED_WITHIN, gateway.open(open)).await else {
                patience.pause().await;
                continue;
            };
            match opened {
                Ok(opened) => return opened,
                Err(status) if transient(&status) => patience.pause().await,
                Err(status) => panic!("the writer was refused: {status:?}"),
            }
        }
    }

    fn acknowledge(&self, started: Instant, written: &mut Written, batches: u32) {
        for sequence in 0..batches {
            written.submitted.entry(sequence).or_insert_with(|| self.tasks_of(sequence));
            written.acknowledged.entry(sequence).or_insert_with(|| started.elapsed());
        }
        self.progress.send_replace(batches);
    }
}

fn acknowledged_batches(written: &Written) -> u32 {
    written.acknowledged.last_key_value().map_or(0, |(sequence, _)| sequence + 1)
}

/// At once without a pace.
async fn paced(pace: Duration, interval: &mut Interval) {
    if !pace.is_zero() {
        interval.tick().await;
    }
}

/// What a crash looks like from outside.
pub(crate) fn transient(status: &Status) -> bool {
    if reason(status).is_some_and(|reason| reason != Reason::Internal) {
        return status.code() == Code::Unavailable || hashmesh::error::retry_after(status).is_some();
    }
    matches!(status.code(), Code::Unavailable | Code::Unknown | Code::Cancelled | Code::Internal)
}
