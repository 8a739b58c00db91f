//! Watching a submission's progress.

use tonic::{Status, Streaming};

use super::{
    connection::{Client, KeyedChannel},
    error::ClientError,
    follow::{Follower, Received, Subscription},
};
use crate::{
    gateway::v1::{
        WatchSubmissionRequest, WatchSubmissionResponse, gateway_service_client::GatewayServiceClient,
        watch_submission_response::Frame,
    },
    v1::{Submission, SubmissionState},
};

/// A submission whenever it changed, at most every 250 ms, up to its final state; across outages.
#[derive(Debug)]
pub struct SubmissionWatch(Follower<Submission>);

impl Client {
    /// Watches a submission.
    #[must_use]
    pub fn watch(&self, submission_id: &str) -> SubmissionWatch {
        SubmissionWatch(Follower::new(self, Watched { submission_id: submission_id.to_owned(), ended: false }))
    }
}

impl SubmissionWatch {
    /// The submission now; none after its final state. May be cancelled without losing a state.
    ///
    /// # Errors
    /// If it is refused, or an outage lasts too long.
    pub async fn next(&mut self) -> Result<Option<Submission>, ClientError> {
        self.0.next().await
    }
}

#[derive(Debug)]
struct Watched {
    submission_id: String,
    ended: bool,
}

impl Subscription for Watched {
    type Frame = WatchSubmissionResponse;
    type Item = Submission;

    async fn open(&self, mut gateway: GatewayServiceClient<KeyedChannel>) -> Result<Streaming<Self::Frame>, Status> {
        let request = WatchSubmissionRequest { submission_id: self.submission_id.clone() };
        Ok(gateway.watch_submission(request).await?.into_inner())
    }

    fn receive(&mut self, frame: Self::Frame) -> Result<Received<Submission>, ClientError> {
        Ok(match frame.frame {
            Some(Frame::Submission(submission)) => {
                self.ended = matches!(submission.state(), SubmissionState::Completed | SubmissionState::Cancelled);
                Received::Item(submission)
            }
            Some(Frame::Draining(draining)) => Received::Draining(draining.reason),
            Some(Frame::Ping(_)) | None => Received::Life,
        })
    }

    fn complete(&self) -> bool {
        self.ended
    }
}
