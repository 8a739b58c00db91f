//! Callers that submit one task at a time and wait for its outcome: what a request costs that is not batched.

use std::time::{Duration, Instant};

use futures::future::try_join_all;
use hashmesh::{
    client::Client,
    gateway::v1::{SubmitBatchRequest, submit_batch_request},
    v1::{OutcomeStatus, SubmissionOptions},
};

use super::{check::Sample, latency::Latencies, payload::Payload, stream::Input};
use crate::verbs::failure::Failure;

/// Calls before the clock starts: connections, plans and caches are warm then.
const WARM_UP: u64 = 100;

/// What all callers together are to do.
#[derive(Clone, Debug)]
pub(super) struct Calls {
    pub(super) callers: u32,
    /// Tasks, and so calls, over all callers.
    pub(super) tasks: u64,
    pub(super) payload: Payload,
    /// So-many-th calls are sampled.
    pub(super) sample_every: u64,
    pub(super) options: SubmissionOptions,
}

/// What a caller has seen.
#[derive(Debug, Default)]
pub(super) struct CallerDone {
    pub(super) latencies: Latencies,
    pub(super) samples: Vec<Sample>,
}

/// Makes all calls, each caller one at a time. The duration is from the first call to the last answer.
pub(super) async fn run_callers(client: &Client, calls: &Calls) -> Result<(Duration, Vec<CallerDone>), Failure> {
    let callers = u64::from(calls.callers);
    for call in 0..WARM_UP {
        submit(client, calls, u64::MAX / 2 + call).await?;
    }
    let begun = Instant::now();
    let running = (0..callers).map(|caller| {
        let (client, calls) = (client.clone(), calls.clone());
        let run = tokio::spawn(async move { run_caller(&client, &calls, caller).await });
        async { run.await.map_err(|error| Failure::local("a caller was stopped", &error))? }
    });
    let done = try_join_all(running).await?;
    Ok((begun.elapsed(), done))
}

/// Every so-many-th call of all, so that the callers share what is left of an uneven division.
async fn run_caller(client: &Client, calls: &Calls, caller: u64) -> Result<CallerDone, Failure> {
    let mut done = CallerDone::default();
    let mut call = caller;
    while call < calls.tasks {
        let begun = Instant::now();
        let (input, digests) = submit(client, calls, call).await?;
        done.latencies.add(begun.elapsed());
        if call.is_multiple_of(calls.sample_every) {
            done.samples.push(Sample { input, digests });
        }
        call += u64::from(calls.callers);
    }
    Ok(done)
}

/// One call: a submission of one task, and the digests that came back for it.
async fn submit(client: &Client, calls: &Calls, call: u64) -> Result<(Input, Vec<u8>), Failure> {
    // A number of its own for each call, as (sequence, index) of a batch of the largest size.
    let size = u64::from(u32::MAX);
    let (sequence, index) = ((call / size) as u32, (call % size) as u32);
    let input = Input { payload: calls.payload, sequence, index };
    let bytes = input.bytes();
    let columns = hashmesh::v1::PackedTasks {
        lengths: vec![u32::try_from(bytes.len()).unwrap_or(u32::MAX)],
        data: bytes.into(),
        ..Default::default()
    };
    let request = SubmitBatchRequest {
        options: Some(calls.options.clone()),
        tasks: Some(submit_batch_request::Tasks::Columns(columns)),
        wait: true,
        ..SubmitBatchRequest::default()
    };
    let answer = client.submit_batch(request).await?;
    let [outcome] = answer.outcomes.as_slice() else {
        return Err(Failure::Local(format!("{} outcomes came back for one task", answer.outcomes.len())));
    };
    if outcome.status() != OutcomeStatus::Succeeded {
        return Err(Failure::Local(format!("a made-up task did not succeed: {:?}", outcome.error)));
    }
    let digests: Result<Vec<Vec<u8>>, _> = outcome.digests.iter().map(|digest| hex::decode(&digest.hex)).collect();
    let digests = digests.map_err(|error| Failure::local("a digest is not hexadecimal", &error))?;
    Ok((input, digests.concat()))
}
