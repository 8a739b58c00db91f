//! `SubmitTasks`: a bridge between a client's stream and one to the Queue.
//!
//! One task per stream drives three things at once: [`uplink`] (batches in, validated, within the window), [`downlink`]
//! (acknowledgements and outcomes out) and the pings. The two directions wait for nothing of each other but room in the
//! window, so neither a client that does not read nor a Queue that does not answer can stop more than its own stream.

mod downlink;
mod open;
mod uplink;
mod window;

use std::{sync::Arc, time::Duration};

use hashmesh::gateway::v1::{SubmitTasksRequest, SubmitTasksResponse, submit_tasks_response::Frame};
use tonic::{Status, Streaming};

use self::{open::Opening, window::Window};
use crate::{
    admission::StreamKind,
    auth::Caller,
    deadline, error,
    outbound::{End, Frames, Outbound, respond},
    pings::{self, Liveness},
    reads::Reads,
    service::Gateway,
    spans,
};

/// How long a stop waits for the answers to batches that were passed on.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

fn frame(frame: Frame) -> SubmitTasksResponse {
    SubmitTasksResponse { frame: Some(frame) }
}

/// Answers at once, so that the client can send; errors of the protocol end the stream.
pub(crate) fn submit(
    gateway: &Gateway,
    caller: Caller,
    inbound: Streaming<SubmitTasksRequest>,
) -> Result<Frames<SubmitTasksResponse>, Status> {
    let place = gateway.admission.stream(StreamKind::Submit)?;
    let gateway = gateway.clone();
    let reads = caller.reads();
    Ok(respond("submit", place, caller, |outbound| run(gateway, reads, inbound, outbound)))
}

async fn run(
    gateway: Gateway,
    reads: Reads,
    mut inbound: Streaming<SubmitTasksRequest>,
    outbound: Outbound<SubmitTasksResponse>,
) -> Result<(), End> {
    let liveness = Liveness::new();
    let mut ending = gateway.ending();
    let opened = async {
        let open = uplink::first_frame(&mut inbound, &liveness).await?;
        let mut span = spans::received("gateway open", "");
        let answers_pings = open.answers_pings;
        let opening = Opening::validate(&reads, open);
        let opened = async { opening?.send(&gateway).await }.await;
        match &opened {
            Ok(bridge) => span.set("hashmesh.submission_id", bridge.opened.submission_id.clone()),
            Err(status) => spans::refused(&mut span, status),
        }
        Ok::<_, End>((opened?, answers_pings))
    };
    let (bridge, answers_pings) = tokio::select! {
        opened = opened => opened?,
        end = pings::ping(&outbound, |ping| frame(Frame::Ping(ping)), None) => return Err(end),
        // Open, it may be idle for as long as it likes.
        () = tokio::time::sleep(deadline::DEFAULT) => return Err(error::deadline_exceeded().into()),
        draining = ending.begun() => return outbound.send(frame(Frame::Draining(draining))).await,
    };
    let algorithms = bridge.algorithms();
    let submission_id = Arc::from(bridge.opened.submission_id.as_str());
    outbound.send(frame(Frame::Opened(crate::unary::opened(bridge.opened)))).await?;

    let window = Window::new();
    let up = uplink::run(uplink::Uplink {
        inbound,
        to_queue: bridge.to_queue,
        window: &window,
        outbound: &outbound,
        liveness: answers_pings.then_some(&liveness),
        algorithms,
        submission_id,
        reads: &reads,
    });
    let down = downlink::run(&gateway, bridge.from_queue, bridge.shape, &window, &outbound, &liveness);
    let ping = pings::ping(&outbound, |ping| frame(Frame::Ping(ping)), Some(&liveness));
    // Boxed, so that it can be dropped alone: the Queue then knows that nothing more comes.
    let mut up = Box::pin(up);
    tokio::pin!(down, ping);

    let mut sent_all = false;
    let draining = loop {
        tokio::select! {
            ended = &mut down => return ended,
            end = &mut ping => return Err(end),
            ended = &mut up, if !sent_all => {
                ended?;
                sent_all = true;
            }
            draining = ending.begun() => break draining,
        }
    };

    // Told first, so that the client sends nothing in vain; then what was passed on is answered.
    drop(up);
    let drained = async {
        outbound.send(frame(Frame::Draining(draining))).await?;
        tokio::select! {
            ended = &mut down => ended,
            () = window.empty() => Ok(()),
        }
    };
    tokio::time::timeout(DRAIN_TIMEOUT, drained).await.unwrap_or_else(|_| Err(error::draining().into()))
}
