//! A stream that is kept open and says nothing but the mesh's pings: what becomes of it.

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime},
};

use futures::stream;
use hashmesh::{
    client::{Client, ClientError},
    gateway::v1::{
        GetCapabilitiesRequest, OpenSubmission, SubmitTasksRequest, SubmitTasksResponse, submit_tasks_request,
        submit_tasks_response::Frame,
    },
    v1::SubmissionOptions,
};
use tokio::time::Instant;
use tonic::{Status, Streaming};

use super::{super::failure::Failure, clock::Reading};

/// For what should come at once.
const PATIENCE: Duration = Duration::from_secs(15);

/// What became of the stream.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) end: End,
    /// From its opening to its end, or to when that was enough.
    pub(super) lived: Duration,
    pub(super) pings: u32,
    /// Its submission, if that could not be cancelled.
    pub(super) left: Option<(String, ClientError)>,
    /// The mesh's clock.
    pub(super) reading: Option<Reading>,
}

/// How it ended.
#[derive(Debug)]
pub(super) enum End {
    /// As it should: after the submission was cancelled, and saying so.
    Orderly,
    /// It lived, and then said nothing of the submission's end.
    Silent,
    /// It was not opened.
    Refused(Status),
    /// Nothing came of it, not even its first frame.
    Mute,
    /// It failed. `None`: it ended as if all were well, with the submission still open.
    Died(Option<Status>),
    /// The Gateway, or the Queue, stops.
    Draining(String),
}

/// Opens a submission on a stream, waits, cancels it, and looks on. The submission is cancelled whatever happens.
pub(super) async fn keep(client: &Client, idle: Duration) -> Result<Kept, Failure> {
    let mut gateway = client.gateway();
    // So that connecting is no part of what is measured; if it fails, so does the next call.
    let _ = gateway.get_capabilities(GetCapabilitiesRequest {}).await;

    let (before, begun) = (SystemTime::now(), Instant::now());
    let ended = |end| Kept { end, lived: begun.elapsed(), pings: 0, left: None, reading: None };
    let opening = async {
        // Half-closed at once: with `results` the mesh keeps the stream until the submission has ended.
        let mut frames = gateway.submit_tasks(stream::iter([open()])).await?.into_inner();
        let first = frames.message().await?;
        Ok::<_, Status>((frames, first))
    };
    let (mut frames, first) = match tokio::time::timeout(PATIENCE, opening).await {
        Ok(Ok(opened)) => opened,
        Ok(Err(status)) => return Ok(ended(End::Refused(status))),
        Err(_) => return Ok(ended(End::Mute)),
    };
    let after = SystemTime::now();
    let submission_id = match first.and_then(|first| first.frame) {
        Some(Frame::Opened(opened)) => opened.submission_id,
        Some(Frame::Draining(draining)) => return Ok(ended(End::Draining(draining.reason))),
        _ => return Ok(ended(End::Died(None))),
    };

    let mut pings = 0;
    let died = tokio::select! {
        end = watch(&mut frames, &mut pings) => Some(end),
        () = tokio::time::sleep_until(begun + idle) => None,
        _ = tokio::signal::ctrl_c() => {
            let cancelled = client.cancel_submission(&submission_id).await;
            let said = if cancelled.is_ok() { "cancelled".to_owned() } else { format!("left: hashmesh cancel {submission_id}") };
            return Err(Failure::Interrupted(format!("interrupted; the doctor's submission is {said}")));
        }
    };
    let lived = begun.elapsed();
    let (created, left) = match client.cancel_submission(&submission_id).await {
        Ok(submission) => (submission.create_time, None),
        Err(error) => (None, Some((submission_id, error))),
    };
    let end = match died {
        Some(end) => end,
        None if left.is_some() => End::Silent,
        None => tokio::time::timeout(PATIENCE, farewell(&mut frames)).await.unwrap_or(End::Silent),
    };
    let mesh = created.and_then(|created| SystemTime::try_from(created).ok());
    Ok(Kept { end, lived, pings, left, reading: mesh.map(|mesh| Reading { before, mesh, after }) })
}

fn open() -> SubmitTasksRequest {
    let labels = BTreeMap::from([("by".to_owned(), "doctor".to_owned())]);
    let options = Some(SubmissionOptions { labels, ..SubmissionOptions::default() });
    let open = OpenSubmission { options, results: true, ..OpenSubmission::default() };
    SubmitTasksRequest { frame: Some(submit_tasks_request::Frame::Open(open)) }
}

/// Counts pings until the stream ends, which it should not.
async fn watch(frames: &mut Streaming<SubmitTasksResponse>, pings: &mut u32) -> End {
    loop {
        match frames.message().await {
            Ok(Some(SubmitTasksResponse { frame: Some(Frame::Ping(_)) })) => *pings += 1,
            Ok(Some(SubmitTasksResponse { frame: Some(Frame::Draining(draining)) })) => {
                return End::Draining(draining.reason);
            }
            // Nothing else belongs there, and nothing else would be wrong.
            Ok(Some(_)) => {}
            Ok(None) => return End::Died(None),
            Err(status) => return End::Died(Some(status)),
        }
    }
}

/// The submission is cancelled: the stream says so, and ends.
async fn farewell(frames: &mut Streaming<SubmitTasksResponse>) -> End {
    let mut completed = false;
    loop {
        match frames.message().await {
            Ok(Some(message)) => completed |= matches!(message.frame, Some(Frame::Completed(_))),
            Ok(None) if completed => return End::Orderly,
            Ok(None) => return End::Silent,
            Err(status) => return End::Died(Some(status)),
        }
    }
}
