//! `WatchSubmission`: progress, passed on.

use hashmesh::{
    gateway::v1::{WatchSubmissionRequest, WatchSubmissionResponse, watch_submission_response::Frame},
    queue::v1::{self as queue, watch_submission_response::Frame as QueueFrame},
    v1::{Draining, Ping},
};
use tonic::{Status, Streaming};

use crate::{
    auth::Caller,
    outbound::{End, Frames, Outbound, respond},
    pings,
    service::Gateway,
    upstream::{Repeat, StreamSlot},
    validate,
};

/// What a stream says before it is closed because of a stop.
pub(crate) fn draining_frame() -> Draining {
    Draining { reason: "this gateway is stopping; ask again".to_owned() }
}

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
    let place = gateway.admission.reader()?;
    let request = queue::WatchSubmissionRequest { tenant: caller.tenant(), submission_id };
    let (inner, slot) = gateway
        .queue
        .open(Repeat::Safe, |channel| {
            let request = request.clone();
            async move { Ok(crate::service::queue_client(channel).watch_submission(request).await?.into_inner()) }
        })
        .await?;
    let gateway = gateway.clone();
    Ok(respond("watch", place, caller, |outbound| async move {
        tokio::select! {
            result = relay(&gateway, inner, slot, &outbound) => result,
            end = pings::ping(&outbound, |ping: Ping| frame(Frame::Ping(ping)), None) => Err(end),
            () = gateway.shutdown.wait() => outbound.send(frame(Frame::Draining(draining_frame()))).await,
        }
    }))
}

async fn relay(
    gateway: &Gateway,
    mut inner: Streaming<queue::WatchSubmissionResponse>,
    _slot: StreamSlot,
    outbound: &Outbound<WatchSubmissionResponse>,
) -> Result<(), End> {
    while let Some(message) = inner.message().await.map_err(|status| gateway.queue.status(&status))? {
        let passed = match message.frame {
            Some(QueueFrame::Submission(submission)) => Frame::Submission(submission),
            Some(QueueFrame::Draining(draining)) => Frame::Draining(draining),
            // A newer Queue's frame: nothing that this version could tell a client.
            None => continue,
        };
        outbound.send(frame(passed)).await?;
    }
    Ok(())
}
