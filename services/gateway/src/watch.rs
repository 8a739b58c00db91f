//! `WatchSubmission`: progress, passed on. The Queue is read whether or not the client reads, who gets the last state once it does:
//! so it holds up nothing, and streams of many clients share a connection.

use hashmesh::{
    gateway::v1::{WatchSubmissionRequest, WatchSubmissionResponse, watch_submission_response::Frame},
    queue::v1::{self as queue, watch_submission_response::Frame as QueueFrame},
    v1::Ping,
};
use tonic::{Status, Streaming};

use crate::{
    admission::StreamKind,
    auth::Caller,
    outbound::{End, Frames, Outbound, respond},
    pings,
    service::Gateway,
    upstream::{Pace, QueueSlot, Repeat, Routed as _},
    validate,
};

fn frame(frame: Frame) -> WatchSubmissionResponse {
    WatchSubmissionResponse { frame: Some(frame) }
}

/// Opens the stream; an error that is known at once answers the call itself.
pub(crate) async fn watch(
    gateway: &Gateway,
    caller: Caller,
    request: WatchSubmissionRequest,
) -> Result<Frames<WatchSubmissionResponse>, Status> {
    let submission_id = validate::submission_id("submission_id", &request.submission_id)?;
    let place = gateway.admission.stream(StreamKind::Watch)?;
    let request = queue::WatchSubmissionRequest { tenant: caller.tenant(), submission_id };
    let (inner, slot) = gateway
        .queue
        .open(request.route(), Repeat::Safe, Pace::Always, |channel| {
            let request = request.clone();
            async move { Ok(crate::service::queue_client(channel).watch_submission(request).await?.into_inner()) }
        })
        .await?;
    let (gateway, mut ending) = (gateway.clone(), gateway.ending());
    Ok(respond("watch", place, caller, |outbound| async move {
        tokio::select! {
            result = relay(&gateway, inner, slot, &outbound) => result,
            end = pings::ping(&outbound, |ping: Ping| frame(Frame::Ping(ping)), None) => Err(end),
            draining = ending.begun() => outbound.send(frame(Frame::Draining(draining))).await,
        }
    }))
}

async fn relay(
    gateway: &Gateway,
    mut inner: Streaming<queue::WatchSubmissionResponse>,
    slot: QueueSlot,
    outbound: &Outbound<WatchSubmissionResponse>,
) -> Result<(), End> {
    let mut last = None;
    loop {
        tokio::select! {
            message = gateway.queue.message(&slot, &mut inner) => {
                let Some(message) = message? else { break };
                match message.frame {
                    Some(QueueFrame::Submission(submission)) => last = Some(Frame::Submission(submission)),
                    Some(QueueFrame::Draining(draining)) => last = Some(Frame::Draining(draining)),
                    // A newer Queue's frame: nothing that this version could tell a client.
                    None => {}
                }
            }
            room = outbound.room(), if last.is_some() => {
                let room = room?;
                if let Some(last) = last.take() {
                    room.send(Ok(frame(last)));
                }
            }
        }
    }
    match last {
        Some(last) => outbound.send(frame(last)).await,
        None => Ok(()),
    }
}
