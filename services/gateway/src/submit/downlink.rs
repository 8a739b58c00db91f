//! From the Queue to the client: acknowledgements, refusals, outcomes.

use hashmesh::{
    gateway::v1::{SubmitTasksResponse, submit_tasks_response::Frame},
    queue::v1::write_submission_response::Frame as QueueFrame,
    v1::ResultShape,
};

use super::{frame, open::FromQueue, window::Window};
use crate::{
    frames, metering,
    outbound::{End, Outbound},
    pings::Liveness,
    service::Gateway,
    spans,
};

/// Passes frames on until the Queue has ended the stream.
pub(super) async fn run(
    gateway: &Gateway,
    mut from_queue: FromQueue,
    shape: ResultShape,
    window: &Window,
    outbound: &Outbound<SubmitTasksResponse>,
    liveness: &Liveness,
) -> Result<(), End> {
    while let Some(message) = gateway.queue.message(&from_queue.slot, &mut from_queue.frames).await? {
        let passed = match message.frame {
            Some(QueueFrame::Accepted(accepted)) => {
                window.accepted(accepted.through_sequence, accepted.window_bytes);
                Frame::Accepted(accepted)
            }
            Some(QueueFrame::Rejected(rejected)) => {
                window.rejected(rejected.sequence);
                Frame::Rejected(rejected)
            }
            Some(QueueFrame::Results(mut results)) => {
                let _span = spans::sent("SubmitTasks", &mut results);
                for results in frames::shaped(results, shape).await? {
                    let outcomes = results.outcome_count();
                    outbound.send(frame(Frame::Results(results))).await?;
                    metering::sent(outcomes);
                    liveness.read();
                }
                continue;
            }
            Some(QueueFrame::Completed(completed)) => Frame::Completed(completed),
            Some(QueueFrame::Draining(draining)) => Frame::Draining(draining),
            // `opened` came before; anything else is a newer Queue's, and nothing that this version could tell.
            Some(QueueFrame::Opened(_)) | None => continue,
        };
        outbound.send(frame(passed)).await?;
        liveness.read();
    }
    Ok(())
}
