//! One stream of a bench: a submission that is written and whose outcomes are read at the same time.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Instant,
};

use hashmesh::{
    algorithm::stride,
    client::{Client, ResultsQuery, Submitter},
    v1::{OutcomeStatus, PackedOutcomes},
};

use super::{check::Sample, latency::Latencies, payload::Payload};
use crate::verbs::failure::Failure;

/// What a stream is to send.
#[derive(Clone, Copy, Debug)]
pub(super) struct Load {
    pub(super) tasks: u64,
    /// Tasks of a batch; the last may have fewer.
    pub(super) batch: u32,
    pub(super) payload: Payload,
    /// A task of each so-many-th batch is sampled.
    pub(super) sample_every: u64,
}

/// What a stream has seen.
#[derive(Debug)]
pub(super) struct StreamDone {
    pub(super) last_outcome: Instant,
    pub(super) latencies: Latencies,
    pub(super) samples: Vec<Sample>,
}

/// Batches under way: when each was sent, and how many of its outcomes are missing. Small, since entries go when the last
/// outcome has come.
type UnderWay = Mutex<HashMap<u32, (Instant, u32)>>;

/// Sends everything and reads every outcome.
pub(super) async fn run_stream(client: Client, load: Load, submitter: Submitter) -> Result<StreamDone, Failure> {
    let under_way = UnderWay::default();
    let submission_id = submitter.submission_id().to_owned();
    let write = write(&load, submitter, &under_way);
    let read = read(&client, &load, &submission_id, &under_way);
    let ((), done) = futures::future::try_join(write, read).await?;
    Ok(done)
}

async fn write(load: &Load, mut submitter: Submitter, under_way: &UnderWay) -> Result<(), Failure> {
    let mut left = load.tasks;
    while left > 0 {
        let sequence = submitter.next_sequence();
        let tasks = u32::try_from(left).unwrap_or(u32::MAX).min(load.batch);
        let batch = load.payload.batch(sequence, tasks);
        // Before it is handed over, because its outcomes may come at once; corrected below, because waiting for room in
        // the window is the sender's time, not the batch's.
        note_sent(under_way, sequence, tasks);
        submitter.send(batch).await?;
        if let Some(entry) = lock(under_way).get_mut(&sequence) {
            entry.0 = Instant::now();
        }
        left -= u64::from(tasks);
    }
    submitter.seal().await?;
    Ok(())
}

fn note_sent(under_way: &UnderWay, sequence: u32, tasks: u32) {
    lock(under_way).insert(sequence, (Instant::now(), tasks));
}

fn lock(under_way: &UnderWay) -> std::sync::MutexGuard<'_, HashMap<u32, (Instant, u32)>> {
    under_way.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn read(client: &Client, load: &Load, submission_id: &str, under_way: &UnderWay) -> Result<StreamDone, Failure> {
    let mut results = client.results(ResultsQuery::following(submission_id));
    let mut done = StreamDone { last_outcome: Instant::now(), latencies: Latencies::default(), samples: Vec::new() };
    let mut recorded = 0_u64;
    while let Some(outcomes) = results.next().await? {
        done.last_outcome = Instant::now();
        recorded += u64::from(outcomes.task_count);
        note_received(&outcomes, under_way, &mut done)?;
        refuse_failures(&outcomes)?;
        done.samples.extend(sample(load, &outcomes));
    }
    if recorded != load.tasks {
        return Err(Failure::Local(format!(
            "{recorded} outcomes came back for {} tasks of {submission_id}",
            load.tasks
        )));
    }
    Ok(done)
}

fn note_received(outcomes: &PackedOutcomes, under_way: &UnderWay, done: &mut StreamDone) -> Result<(), Failure> {
    let mut under_way = lock(under_way);
    let sequence = outcomes.sequence;
    let unexpected = || Failure::Local(format!("more outcomes came back for batch {sequence} than it has tasks"));
    let (sent, missing) = under_way.get_mut(&sequence).ok_or_else(unexpected)?;
    *missing = missing.checked_sub(outcomes.task_count).ok_or_else(unexpected)?;
    if *missing == 0 {
        done.latencies.add(done.last_outcome.saturating_duration_since(*sent));
        under_way.remove(&sequence);
    }
    Ok(())
}

/// Made-up tasks have no reason to fail: one that does makes the bench void.
fn refuse_failures(outcomes: &PackedOutcomes) -> Result<(), Failure> {
    let succeeded = OutcomeStatus::Succeeded as u8;
    let Some(index) = outcomes.statuses.iter().position(|status| *status != succeeded) else { return Ok(()) };
    let error = outcomes.failures.first().and_then(|failure| failure.error.as_ref());
    let text = error.map_or_else(String::new, |error| format!(": {} ({})", error.message, error.reason));
    let task = outcomes.first_task as usize + index;
    Err(Failure::Local(format!("task {task} of batch {} did not succeed{text}", outcomes.sequence)))
}

/// A task of the batch, if the batch is one of those that are sampled.
fn sample(load: &Load, outcomes: &PackedOutcomes) -> Option<Sample> {
    let sequence = outcomes.sequence;
    if outcomes.first_task != 0 || !u64::from(sequence).is_multiple_of(load.sample_every) {
        return None;
    }
    // Spread over the places of a batch, edges included.
    let index = (u64::from(sequence) / load.sample_every * 37 % u64::from(outcomes.task_count.max(1))) as usize;
    let stride = stride(&outcomes.known_algorithms());
    let digests = outcomes.digests.get(index * stride..(index + 1) * stride)?.to_vec();
    let index = u32::try_from(index).ok()?;
    Some(Sample { input: Input { payload: load.payload, sequence, index }, digests })
}

/// Names a made-up task; its bytes are made again when they are needed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Input {
    pub(super) payload: Payload,
    pub(super) sequence: u32,
    pub(super) index: u32,
}

impl Input {
    pub(super) fn bytes(&self) -> Vec<u8> {
        self.payload.task(self.sequence, self.index)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use hashmesh::v1::Algorithm;

    use super::*;

    fn outcomes(sequence: u32, first_task: u32, task_count: u32) -> PackedOutcomes {
        PackedOutcomes {
            sequence,
            first_task,
            task_count,
            algorithms: vec![Algorithm::Md5 as i32],
            digests: Bytes::from(vec![3; 16 * task_count as usize]),
            ..PackedOutcomes::default()
        }
    }

    #[test]
    fn a_batch_is_timed_when_its_last_outcome_has_come_and_an_outcome_too_many_is_found_out() {
        let under_way = UnderWay::default();
        note_sent(&under_way, 0, 10);
        let mut done =
            StreamDone { last_outcome: Instant::now(), latencies: Latencies::default(), samples: Vec::new() };
        note_received(&outcomes(0, 0, 4), &under_way, &mut done).unwrap();
        assert_eq!(lock(&under_way).len(), 1);
        note_received(&outcomes(0, 4, 6), &under_way, &mut done).unwrap();
        assert!(lock(&under_way).is_empty());
        assert!(note_received(&outcomes(0, 9, 1), &under_way, &mut done).is_err());
    }

    #[test]
    fn a_task_that_did_not_succeed_makes_the_bench_void() {
        assert!(refuse_failures(&outcomes(0, 0, 2)).is_ok());
        let failed = PackedOutcomes { statuses: Bytes::from_static(&[1, 3]), ..outcomes(4, 5, 2) };
        let error = refuse_failures(&failed).unwrap_err().to_string();
        assert_eq!(error, "task 6 of batch 4 did not succeed");
    }
}
