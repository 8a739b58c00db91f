//! Who is to be asked: derived from a request, here and nowhere else.

use hashmesh::{queue::v1 as queue, shards};
use uuid::Uuid;

/// Who is to be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Route {
    /// Any process: the answer is in the tables.
    Any,
    /// Any process that owns something. Creations are spread over the shards.
    AnyOwner,
    /// The owner of this shard.
    Shard(u8),
}

/// Controls are written by the owner of this shard; the others hear of them within a second.
const CONTROLS: Route = Route::Shard(0);

impl Route {
    /// A submission. The Queue says what is wrong with an id that is none.
    fn submission(id: &str) -> Self {
        Uuid::try_parse(id).map_or(Self::Any, |id| Self::Shard(shards::of_submission(id.as_bytes())))
    }

    /// A new submission, or the one that has been created with this key.
    fn creation(tenant: &str, idempotency_key: &str) -> Self {
        match idempotency_key {
            "" => Self::AnyOwner,
            key => Self::Shard(shards::of_key(tenant, key)),
        }
    }
}

/// A request of the `QueueService` that one process answers.
pub(crate) trait Routed {
    /// Which.
    fn route(&self) -> Route;
}

impl Routed for queue::OpenSubmission {
    fn route(&self) -> Route {
        match self.submission_id.as_str() {
            "" => Route::creation(&self.tenant, &self.idempotency_key),
            id => Route::submission(id),
        }
    }
}

impl Routed for queue::RetryTasksRequest {
    fn route(&self) -> Route {
        // Of the new submission: the old one is complete, and read from the tables.
        Route::creation(&self.tenant, &self.idempotency_key)
    }
}

impl Routed for queue::ListSubmissionsRequest {
    fn route(&self) -> Route {
        Route::Any
    }
}

impl Routed for queue::SetControlsRequest {
    fn route(&self) -> Route {
        CONTROLS
    }
}

impl Routed for queue::GetControlsRequest {
    fn route(&self) -> Route {
        // Who wrote them last knows them first.
        CONTROLS
    }
}

/// Creations.
macro_rules! open {
    ($($request:ident),+) => {
        $(impl Routed for queue::$request {
            fn route(&self) -> Route {
                self.open.as_ref().map_or(Route::AnyOwner, Routed::route)
            }
        })+
    };
}
open!(CreateSubmissionRequest, SubmitBatchRequest);

/// Calls about a submission.
macro_rules! about_submission {
    ($($request:ident),+) => {
        $(impl Routed for queue::$request {
            fn route(&self) -> Route {
                Route::submission(&self.submission_id)
            }
        })+
    };
}
about_submission!(
    AppendBatchRequest,
    SealSubmissionRequest,
    GetSubmissionRequest,
    WatchSubmissionRequest,
    CancelSubmissionRequest,
    ListResultsRequest,
    StreamResultsRequest
);

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "01890a5d-ac96-774b-bcce-b302099a8057";

    fn open(submission_id: &str, idempotency_key: &str) -> queue::OpenSubmission {
        queue::OpenSubmission {
            tenant: "tenant".to_owned(),
            submission_id: submission_id.to_owned(),
            idempotency_key: idempotency_key.to_owned(),
            ..Default::default()
        }
    }

    #[test]
    fn calls_about_a_submission_go_to_the_shard_of_its_last_six_bits() {
        let get = queue::GetSubmissionRequest { submission_id: ID.to_owned(), ..Default::default() };
        assert_eq!(get.route(), Route::Shard(0x57 & 63));
        assert_eq!(open(ID, "").route(), Route::Shard(0x57 & 63));
        // What the Queue says of it is as good from anybody.
        assert_eq!(open("no id", "").route(), Route::Any);
    }

    #[test]
    fn a_creation_with_a_key_goes_to_the_keys_shard_and_one_without_is_spread() {
        let shard = Route::Shard(shards::of_key("tenant", "key"));
        assert_eq!(open("", "key").route(), shard);
        assert_eq!(open("", "").route(), Route::AnyOwner);
        let whole = |key: &str| queue::SubmitBatchRequest { open: Some(open("", key)), ..Default::default() };
        assert_eq!((whole("key").route(), whole("").route()), (shard, Route::AnyOwner));
        let retry = |key: &str| queue::RetryTasksRequest {
            tenant: "tenant".to_owned(),
            submission_id: ID.to_owned(),
            idempotency_key: key.to_owned(),
        };
        assert_eq!((retry("key").route(), retry("").route()), (shard, Route::AnyOwner));
    }

    #[test]
    fn controls_are_written_and_read_where_they_are_written() {
        assert_eq!(queue::SetControlsRequest::default().route(), Route::Shard(0));
        assert_eq!(queue::GetControlsRequest::default().route(), Route::Shard(0));
    }
}
