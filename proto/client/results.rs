//! Reading a submission's outcomes.

use std::collections::VecDeque;

use tonic::{Status, Streaming};

use super::{
    connection::{Client, KeyedChannel},
    error::ClientError,
    follow::{Follower, Received, Subscription},
};
use crate::{
    gateway::v1::{
        StreamResultsRequest, StreamResultsResponse, gateway_service_client::GatewayServiceClient,
        stream_results_response::Frame,
    },
    v1::{OutcomeStatus, PackedOutcomes, ResultShape, Results, Submission},
};

/// Which outcomes to read.
#[derive(Clone, Debug, Default)]
pub struct ResultsQuery {
    /// The submission.
    pub submission_id: String,
    /// Only outcomes after this position; it may fall anywhere. 0: from the first.
    pub after_position: u64,
    /// Wait for outcomes still to come, until the submission has ended. Otherwise the stream ends at the present.
    pub follow: bool,
    /// Only these outcomes. Empty: all.
    pub statuses: Vec<OutcomeStatus>,
}

impl ResultsQuery {
    /// All outcomes of a submission, waited for until it has ended.
    #[must_use]
    pub fn following(submission_id: &str) -> Self {
        Self { submission_id: submission_id.to_owned(), follow: true, ..Self::default() }
    }
}

/// A submission's outcomes by position, each exactly once: after a failure, and where a stream ends before the last outcome that the
/// submission's counters tell of, the stream is asked for again from where the reader stands, what was seen is left out, and a gap is
/// an error. About 2 MiB are read ahead, no more.
#[derive(Debug)]
pub struct ResultStream {
    frames: Follower<Delivery>,
    ready: VecDeque<PackedOutcomes>,
    /// What `position` will be once `ready` is empty.
    through: u64,
    position: u64,
    summary: Option<Submission>,
    traceparents: Vec<String>,
}

/// What a frame brought.
#[derive(Debug)]
enum Delivery {
    Outcomes { columns: Vec<PackedOutcomes>, through: u64, traceparents: Vec<String> },
    Completed(Box<Submission>),
}

impl Client {
    /// Reads a submission's outcomes, as columns.
    #[must_use]
    pub fn results(&self, query: ResultsQuery) -> ResultStream {
        let position = query.after_position;
        let cursor = Cursor { through: position, completed: false, query };
        let frames = Follower::new(self, cursor);
        ResultStream {
            frames,
            ready: VecDeque::new(),
            through: position,
            position,
            summary: None,
            traceparents: Vec::new(),
        }
    }
}

impl ResultStream {
    /// The outcomes of the next run of neighbouring tasks; none after the last. May be cancelled without losing any.
    ///
    /// # Errors
    /// If the query is refused, an outage lasts too long, or the server leaves out a position.
    pub async fn next(&mut self) -> Result<Option<PackedOutcomes>, ClientError> {
        loop {
            if let Some(outcomes) = self.ready.pop_front() {
                let last = outcomes.first_position + u64::from(outcomes.task_count).saturating_sub(1);
                self.position = if self.ready.is_empty() { self.through } else { last };
                return Ok(Some(outcomes));
            }
            match self.frames.next().await? {
                Some(Delivery::Outcomes { columns, through, traceparents }) => {
                    self.traceparents = traceparents;
                    self.ready = columns.into();
                    self.through = through;
                    if self.ready.is_empty() {
                        self.position = through;
                    }
                }
                Some(Delivery::Completed(summary)) => self.summary = Some(*summary),
                None => return Ok(None),
            }
        }
    }

    /// Every matching outcome up to this position was handed out: where another reader may go on.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.position
    }

    /// What the outcomes come from that were handed out last: W3C `traceparent`s, for a span of the reader's to be linked to.
    /// Those of one frame of the server's, which may hold several runs of outcomes, and each frame's once: then none until
    /// outcomes of the next are handed out. None where nothing is traced.
    #[must_use]
    pub fn take_traceparents(&mut self) -> Vec<String> {
        std::mem::take(&mut self.traceparents)
    }

    /// The submission at its end, once the stream has come to it.
    #[must_use]
    pub fn summary(&self) -> Option<&Submission> {
        self.summary.as_ref()
    }
}

/// How far the stream has been read.
#[derive(Debug)]
struct Cursor {
    query: ResultsQuery,
    through: u64,
    completed: bool,
}

impl Subscription for Cursor {
    type Frame = StreamResultsResponse;
    type Item = Delivery;

    async fn open(&self, mut gateway: GatewayServiceClient<KeyedChannel>) -> Result<Streaming<Self::Frame>, Status> {
        let request = StreamResultsRequest {
            submission_id: self.query.submission_id.clone(),
            after_position: self.through,
            follow: self.query.follow,
            statuses: self.query.statuses.iter().map(|status| *status as i32).collect(),
            result_shape: ResultShape::Columns as i32,
        };
        Ok(gateway.stream_results(request).await?.into_inner())
    }

    fn receive(&mut self, frame: Self::Frame) -> Result<Received<Delivery>, ClientError> {
        match frame.frame {
            Some(Frame::Results(mut results)) => {
                let mut traceparents = std::mem::take(&mut results.traceparents);
                let columns = self.advance(results)?;
                if columns.is_empty() {
                    // Nothing of it is new.
                    traceparents.clear();
                }
                Ok(Received::Item(Delivery::Outcomes { columns, through: self.through, traceparents }))
            }
            Some(Frame::Completed(completed)) => {
                let summary = completed.summary.unwrap_or_default();
                if self.query.statuses.is_empty() && self.through < summary.recorded_tasks {
                    // That is not the end: what is missing is asked for.
                    let (through, recorded) = (self.through, summary.recorded_tasks);
                    return Ok(Received::Draining(format!("the outcomes ended at position {through} of {recorded}")));
                }
                self.completed = true;
                Ok(Received::Item(Delivery::Completed(Box::new(summary))))
            }
            Some(Frame::Draining(draining)) => Ok(Received::Draining(draining.reason)),
            Some(Frame::Ping(_)) | None => Ok(Received::Life),
        }
    }

    fn complete(&self) -> bool {
        self.completed
    }

    fn ends_with_stream(&self) -> bool {
        self.completed || !self.query.follow
    }
}

impl Cursor {
    /// Leaves out what was seen before and makes sure that nothing is missing.
    fn advance(&mut self, results: Results) -> Result<Vec<PackedOutcomes>, ClientError> {
        let mut fresh = Vec::with_capacity(results.columns.len());
        for columns in results.columns {
            let Some(columns) = columns.after_position(self.through) else { continue };
            if self.query.statuses.is_empty() && columns.first_position != self.through + 1 {
                let (found, wanted) = (columns.first_position, self.through + 1);
                return Err(ClientError::Protocol(format!("outcomes follow at position {found}, {wanted} is missing")));
            }
            self.through = columns.through_position();
            fresh.push(columns);
        }
        if results.through_position > self.through {
            if self.query.statuses.is_empty() {
                let (through, sent) = (results.through_position, self.through);
                let text = format!("a frame claims outcomes up to position {through} but they end at {sent}");
                return Err(ClientError::Protocol(text));
            }
            self.through = results.through_position;
        }
        Ok(fresh)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;
    use crate::v1::Algorithm;

    fn outcomes(first_position: u64, task_count: u32) -> PackedOutcomes {
        let digests = (0..task_count).flat_map(|task| [(first_position + u64::from(task)) as u8; 16]);
        PackedOutcomes {
            first_position,
            task_count,
            algorithms: vec![Algorithm::Md5 as i32],
            digests: Bytes::from_iter(digests),
            ..PackedOutcomes::default()
        }
    }

    fn cursor(after_position: u64) -> Cursor {
        let query = ResultsQuery { after_position, ..ResultsQuery::following("id") };
        Cursor { through: after_position, completed: false, query }
    }

    fn frame(columns: Vec<PackedOutcomes>) -> Results {
        let through_position = columns.iter().map(PackedOutcomes::through_position).max().unwrap_or_default();
        Results { columns, through_position, ..Results::default() }
    }

    #[test]
    fn a_gap_is_found_out() {
        let error = cursor(3).advance(frame(vec![outcomes(5, 1)])).expect_err("4 is missing");
        assert!(error.to_string().contains("4 is missing"), "{error}");
    }

    #[test]
    fn a_filtered_stream_has_gaps_and_goes_on_behind_what_did_not_match() {
        let mut cursor = cursor(0);
        cursor.query.statuses = vec![OutcomeStatus::Failed];
        let results = Results { columns: vec![outcomes(5, 1)], through_position: 9, ..Results::default() };
        assert_eq!(cursor.advance(results).expect("no error").len(), 1);
        assert_eq!(cursor.through, 9);
    }

    proptest! {
        /// However a server cuts its frames, and however often it starts again at or before where the reader stands, the
        /// reader sees every position once.
        #[test]
        fn every_position_is_seen_once(
            after in 0..20_u64,
            runs in proptest::collection::vec((0..30_u64, 1..12_u32), 1..30),
        ) {
            let mut cursor = cursor(after);
            let mut seen = Vec::new();
            for (back, count) in runs {
                let first = (cursor.through + 1).saturating_sub(back).max(1);
                for columns in cursor.advance(frame(vec![outcomes(first, count)])).expect("no gap") {
                    for task in 0..columns.task_count {
                        let position = columns.first_position + u64::from(task);
                        prop_assert_eq!(columns.digests[task as usize * 16], position as u8);
                        seen.push(position);
                    }
                }
            }
            let expected = (after + 1..=cursor.through).collect::<Vec<_>>();
            prop_assert_eq!(seen, expected);
        }
    }
}
