//! `ListResults` and `StreamResults`: outcomes by position.

use hashmesh::{
    gateway::v1::{
        ListResultsRequest, ListResultsResponse, StreamResultsRequest, StreamResultsResponse,
        stream_results_response::Frame,
    },
    limits::{DEFAULT_RESULTS_PAGE, MAX_RESULTS_PAGE},
    queue::v1::{self as queue, stream_results_response::Frame as QueueFrame},
    v1::{Ping, ResultShape, Results},
};
use tonic::{Status, Streaming};

use crate::{
    admission::StreamKind,
    auth::Caller,
    call::Call,
    frames, metering,
    outbound::{End, Frames, Outbound, respond},
    pings,
    service::{Gateway, queue_client},
    spans,
    unary::ask,
    upstream::{Pace, QueueSlot, Repeat, Routed as _},
    validate,
};

/// A page of outcomes as rows, cut at about 1 MiB.
pub(crate) async fn list(
    gateway: &Gateway,
    request: ListResultsRequest,
    call: Call,
) -> Result<ListResultsResponse, Status> {
    validate::statuses("statuses", &request.statuses)?;
    let request = queue::ListResultsRequest {
        tenant: call.tenant(),
        submission_id: validate::submission_id("submission_id", &request.submission_id)?,
        after_position: validate::after_position("after_position", request.after_position)?,
        page_size: validate::page_size("page_size", request.page_size, DEFAULT_RESULTS_PAGE, MAX_RESULTS_PAGE)?,
        statuses: request.statuses,
    };
    let page = ask!(gateway, Repeat::Safe, call.deadline, list_results(request))?;
    let results = Results { columns: page.outcomes, through_position: page.next_after_position, ..Default::default() };
    let mut pieces = frames::shaped(results, ResultShape::Rows).await?.into_iter();
    let first = pieces.next().unwrap_or_default();
    // What did not fit is on the next page, which starts behind the last row of this one.
    let cut = pieces.next().is_some();
    metering::sent(first.rows.len());
    Ok(ListResultsResponse { outcomes: first.rows, next_after_position: first.through_position, end: page.end && !cut })
}

fn frame(frame: Frame) -> StreamResultsResponse {
    StreamResultsResponse { frame: Some(frame) }
}

/// Opens the stream; an error that is known at once answers the call itself.
pub(crate) async fn stream(
    gateway: &Gateway,
    caller: Caller,
    request: StreamResultsRequest,
) -> Result<Frames<StreamResultsResponse>, Status> {
    validate::statuses("statuses", &request.statuses)?;
    let shape = validate::result_shape("result_shape", request.result_shape)?;
    let inner_request = queue::StreamResultsRequest {
        tenant: caller.tenant(),
        submission_id: validate::submission_id("submission_id", &request.submission_id)?,
        after_position: validate::after_position("after_position", request.after_position)?,
        follow: request.follow,
        statuses: request.statuses,
    };
    let place = gateway.admission.stream(StreamKind::Results)?;
    let (inner, slot) = open(gateway, inner_request).await?;
    let (gateway, mut ending) = (gateway.clone(), gateway.ending());
    Ok(respond("results", place, caller, |outbound| async move {
        tokio::select! {
            result = relay(&gateway, inner, slot, shape, &outbound) => result,
            end = pings::ping(&outbound, |ping: Ping| frame(Frame::Ping(ping)), None) => Err(end),
            draining = ending.begun() => outbound.send(frame(Frame::Draining(draining))).await,
        }
    }))
}

/// Opens the Queue's side.
pub(crate) async fn open(
    gateway: &Gateway,
    request: queue::StreamResultsRequest,
) -> Result<(Streaming<queue::StreamResultsResponse>, QueueSlot), Status> {
    gateway
        .queue
        .open(request.route(), Repeat::Safe, Pace::Client, |channel| {
            let request = request.clone();
            async move { Ok(queue_client(channel).stream_results(request).await?.into_inner()) }
        })
        .await
}

async fn relay(
    gateway: &Gateway,
    mut inner: Streaming<queue::StreamResultsResponse>,
    slot: QueueSlot,
    shape: ResultShape,
    outbound: &Outbound<StreamResultsResponse>,
) -> Result<(), End> {
    while let Some(message) = gateway.queue.message(&slot, &mut inner).await? {
        let passed = match message.frame {
            Some(QueueFrame::Results(mut results)) => {
                let _span = spans::sent("StreamResults", &mut results);
                for results in frames::shaped(results, shape).await? {
                    let outcomes = results.outcome_count();
                    outbound.send(frame(Frame::Results(results))).await?;
                    metering::sent(outcomes);
                }
                continue;
            }
            Some(QueueFrame::Completed(completed)) => Frame::Completed(completed),
            Some(QueueFrame::Draining(draining)) => Frame::Draining(draining),
            // A newer Queue's frame: nothing that this version could tell a client.
            None => continue,
        };
        outbound.send(frame(passed)).await?;
    }
    Ok(())
}
