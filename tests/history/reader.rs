//! A reader that resumes after the last position that it saw, through any number of crashes, and keeps everything.

use std::time::Duration;

use hashmesh::{
    gateway::v1::{StreamResultsRequest, StreamResultsResponse, stream_results_response::Frame},
    v1::{OutcomeStatus, PackedOutcomes, ResultShape, Submission},
};
use tonic::{Status, Streaming};

use super::{Observed, Reader, Session, writer::transient};
use crate::support::{
    Gateway,
    wait::{ANSWERED_WITHIN, PATIENCE},
};

/// Longer than any recovery.
const BETWEEN_FRAMES: Duration = PATIENCE;

/// Reads a submission's outcomes to its end, each stream from the next of these Gateways. `cut_after`: lets go of the stream
/// by itself after every so many outcomes.
pub(crate) async fn read(
    servers: Vec<String>,
    submission_id: String,
    name: &str,
    cut_after: Option<usize>,
) -> (Reader, Submission) {
    let mut reader = Reader { name: name.to_owned(), sessions: Vec::new() };
    let mut unanswered = 0;
    loop {
        let after_position = reader.outcomes().last().map_or(0, |outcome| outcome.position);
        reader.sessions.push(Session { after_position, outcomes: Vec::new() });
        let place = reader.sessions.len() - 1;
        let session = reader.sessions.last_mut().expect("it was pushed");
        let gateway = Gateway::connect_patiently(&servers, place).await;
        let opening = open(gateway, &submission_id, after_position);
        let Ok(opened) = tokio::time::timeout(ANSWERED_WITHIN, opening).await else {
            unanswered += 1;
            assert!(unanswered < 4, "{name}: StreamResults is not answered, {unanswered} times in a row");
            continue;
        };
        unanswered = 0;
        let read = match opened {
            Ok(frames) => one_stream(frames, session, cut_after).await,
            Err(status) => Err(status),
        };
        match read {
            Ok(Some(end)) => return (reader, end),
            Ok(None) => {}
            Err(status) if transient(&status) => {}
            Err(status) => panic!("{name} was refused: {status:?}"),
        }
    }
}

async fn open(
    mut gateway: Gateway,
    submission_id: &str,
    after_position: u64,
) -> Result<Streaming<StreamResultsResponse>, Status> {
    let request = StreamResultsRequest {
        submission_id: submission_id.to_owned(),
        after_position,
        follow: true,
        result_shape: ResultShape::Columns as i32,
        ..StreamResultsRequest::default()
    };
    Ok(gateway.stream_results(request).await?.into_inner())
}

/// `None`: the stream ended early.
async fn one_stream(
    mut frames: Streaming<StreamResultsResponse>,
    session: &mut Session,
    cut_after: Option<usize>,
) -> Result<Option<Submission>, Status> {
    loop {
        let Ok(frame) = tokio::time::timeout(BETWEEN_FRAMES, frames.message()).await else {
            panic!("no frame, not even a ping, for {BETWEEN_FRAMES:?}");
        };
        let Some(frame) = frame? else { return Ok(None) };
        match frame.frame.expect("a frame has something in it") {
            Frame::Results(results) => {
                for columns in &results.columns {
                    observe(columns, &mut session.outcomes);
                }
            }
            Frame::Completed(completed) => return Ok(Some(completed.summary.expect("it has a summary"))),
            Frame::Ping(_) | Frame::Draining(_) => {}
        }
        if cut_after.is_some_and(|outcomes| session.outcomes.len() >= outcomes) {
            return Ok(None);
        }
    }
}

/// Columns as rows, by the words of the proto alone. Of several digests of a task the first, which has 32 bytes.
pub(super) fn observe(columns: &PackedOutcomes, outcomes: &mut Vec<Observed>) {
    let stride = columns.digests.len() / columns.task_count as usize;
    for index in 0..columns.task_count {
        let at = index as usize;
        let status = columns.statuses.get(at).map_or(OutcomeStatus::Succeeded as i32, |status| (*status).into());
        outcomes.push(Observed {
            position: columns.first_position + u64::from(index),
            sequence: columns.sequence,
            task: columns.first_task + index,
            status: OutcomeStatus::try_from(status).expect("a known status"),
            digest: columns.digests[at * stride..][..32].try_into().expect("32 bytes"),
        });
    }
}
