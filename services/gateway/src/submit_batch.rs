//! `SubmitBatch`: a whole submission in one call, with its outcomes if the caller waits for them.

use std::time::Duration;

use hashmesh::{
    error::{Reason, StatusBuilder, reason},
    gateway::v1::{SubmitBatchRequest, SubmitBatchResponse},
    limits::MAX_WAIT_ANSWER_BYTES,
    queue::v1::{self as queue, stream_results_response::Frame},
    v1::{Outcome, ResultShape, Results, Submission},
};
use hashmesh_runtime::trace;
use prost::Message as _;
use tonic::Status;

use crate::{
    batch::Unchecked,
    call::Call,
    frames, metering, results,
    service::Gateway,
    spans,
    unary::{ask, repeat_by_key},
    validate,
};

/// Between two attempts to follow the results while the Queue restarts or changes hands.
const FOLLOW_AGAIN_AFTER: Duration = Duration::from_millis(250);

/// Stores the submission; with `wait`, follows its results to the end.
///
/// The Queue answers with the outcomes if they come soon. Beyond that the wait is ours and not the Queue's: so it outlives the Queue's restarts, and a caller whose deadline passes is told
/// under which id the submission goes on.
pub(crate) async fn submit_batch(
    gateway: &Gateway,
    request: SubmitBatchRequest,
    call: Call,
) -> Result<SubmitBatchResponse, Status> {
    let open = queue::OpenSubmission {
        tenant: call.tenant(),
        options: Some(validate::options("options", request.options)?),
        idempotency_key: validate::idempotency_key("idempotency_key", request.idempotency_key)?,
        ..Default::default()
    };
    let algorithms = open.options.as_ref().map(|options| options.algorithms.clone()).unwrap_or_default();
    if let Some(options) = &open.options {
        validate::no_expansion("options", options)?;
    }
    let validated = async {
        let batch = Unchecked::of_submit_batch(request.tasks, algorithms)?;
        if request.wait {
            batch.check_wait()?;
        }
        batch.validate(&call.reads()).await
    };
    let mut batch = validated.await.inspect_err(|_| metering::refused())?;
    batch.traceparent = spans::text(trace::current());
    metering::passed(&batch);
    let repeat = repeat_by_key(&open.idempotency_key);
    let inner = queue::SubmitBatchRequest { open: Some(open), batch: Some(batch), wait: request.wait };
    let stored = ask!(gateway, repeat, call.deadline, submit_batch(inner))?;
    let submission = stored.submission.unwrap_or_default();
    if !request.wait {
        return Ok(SubmitBatchResponse { submission: Some(submission), outcomes: Vec::new() });
    }

    let mut answer = Answer::default();
    if let Some(results) = stored.results {
        // It ended while the Queue was asked.
        answer.take_all(results).await?;
        metering::sent(answer.outcomes.len());
        return Ok(SubmitBatchResponse { submission: Some(submission), outcomes: answer.outcomes });
    }
    match call.deadline.limit(answer.follow(gateway, &call, &submission.submission_id)).await {
        Ok(submission) => {
            metering::sent(answer.outcomes.len());
            Ok(SubmitBatchResponse { submission: Some(submission), outcomes: answer.outcomes })
        }
        Err(status) if reason(&status) == Some(Reason::DeadlineExceeded) => {
            Err(still_running(&submission.submission_id, Reason::DeadlineExceeded))
        }
        Err(status) if reason(&status) == Some(Reason::Draining) => {
            Err(still_running(&submission.submission_id, Reason::Draining))
        }
        Err(status) => Err(status),
    }
}

/// The wait ended before the submission did.
fn still_running(submission_id: &str, reason: Reason) -> Status {
    let message = format!("submission {submission_id} is stored and goes on; StreamResults follows it");
    StatusBuilder::new(reason, message).metadata("submission_id", submission_id).build()
}

/// The outcomes, as far as they fit.
#[derive(Debug, Default)]
struct Answer {
    outcomes: Vec<Outcome>,
    bytes: usize,
    full: bool,
    through_position: u64,
}

impl Answer {
    /// Follows the submission to its end, through restarts of the Queue. Returns the submission at its end.
    async fn follow(&mut self, gateway: &Gateway, call: &Call, submission_id: &str) -> Result<Submission, Status> {
        loop {
            let followed = tokio::select! {
                followed = self.follow_once(gateway, call, submission_id) => followed,
                () = gateway.shutdown.wait() => return Err(crate::error::draining()),
            };
            match followed {
                Ok(Some(submission)) => return Ok(submission),
                // The stream ended early: the Queue is stopping, or changes hands.
                Ok(None) => {}
                Err(status) if status.code() == tonic::Code::Unavailable => {}
                Err(status) => return Err(status),
            }
            tokio::time::sleep(FOLLOW_AGAIN_AFTER).await;
        }
    }

    async fn follow_once(
        &mut self,
        gateway: &Gateway,
        call: &Call,
        submission_id: &str,
    ) -> Result<Option<Submission>, Status> {
        let request = queue::StreamResultsRequest {
            tenant: call.tenant(),
            submission_id: submission_id.to_owned(),
            after_position: self.through_position,
            follow: true,
            statuses: Vec::new(),
        };
        let (mut inner, slot) = results::open(gateway, request).await?;
        while let Some(message) = gateway.queue.message(&slot, &mut inner).await? {
            match message.frame {
                Some(Frame::Results(results)) => self.take_all(results).await?,
                Some(Frame::Completed(completed)) => return Ok(completed.summary),
                Some(Frame::Draining(_)) | None => {}
            }
        }
        Ok(None)
    }

    async fn take_all(&mut self, results: Results) -> Result<(), Status> {
        for piece in frames::shaped(results, ResultShape::Rows).await? {
            self.through_position = piece.through_position;
            self.take(piece.rows);
        }
        Ok(())
    }

    /// Takes rows up to the first that does not fit: what the caller gets is without holes.
    fn take(&mut self, rows: Vec<Outcome>) {
        for row in rows {
            // With the tag and the length before it.
            self.bytes += row.encoded_len() + 5;
            self.full |= self.bytes > MAX_WAIT_ANSWER_BYTES;
            if self.full {
                return;
            }
            self.outcomes.push(row);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_ends_before_the_first_row_that_does_not_fit() {
        let row = |position, name_bytes| Outcome { position, name: "n".repeat(name_bytes), ..Default::default() };
        let mut answer = Answer::default();
        answer.take((1..=1_000).map(|position| row(position, 4_096)).collect());
        answer.take(vec![row(1_001, 0)]);
        let positions: Vec<_> = answer.outcomes.iter().map(|row| row.position).collect();
        assert_eq!(positions, (1..=positions.len() as u64).collect::<Vec<_>>());
        let bytes = SubmitBatchResponse { outcomes: answer.outcomes, ..Default::default() }.encoded_len();
        assert!(bytes <= MAX_WAIT_ANSWER_BYTES && bytes > MAX_WAIT_ANSWER_BYTES - 8_000);
    }

    #[test]
    fn a_caller_whose_deadline_passes_is_told_the_id() {
        use tonic_types::StatusExt as _;
        let status = still_running("id", Reason::DeadlineExceeded);
        assert_eq!(status.code(), tonic::Code::DeadlineExceeded);
        assert_eq!(status.get_details_error_info().unwrap().metadata["submission_id"], "id");
    }
}
