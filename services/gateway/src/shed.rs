//! Which calls are refused when there are too many, and whose places they take.

use std::{sync::Arc, time::Duration};

use hashmesh::error::{Reason, StatusBuilder, reason};
use hashmesh_middleware::concurrency::Gate;
use hashmesh_runtime::metrics::catalogue::gateway::SHED_CALLS;
use tonic::{Status, codegen::http::request::Parts};

use crate::auth::Caller;

/// After which a refused call is worth another try: a few answers' time.
const RETRY_AFTER: Duration = Duration::from_millis(200);

/// Unary calls that bring or read work share places by tenant. What controls work (cancelling, sealing, pausing, looking at
/// one submission, administration) is never shed, and streams have places of their own (`admission`).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shed;

fn sheds(path: &str) -> bool {
    let Some(method) = path.strip_prefix("/hashmesh.gateway.v1.GatewayService/") else { return false };
    matches!(
        method,
        "SubmitBatch"
            | "CreateSubmission"
            | "AppendBatch"
            | "RetryTasks"
            | "ComputeDigest"
            | "ListSubmissions"
            | "ListSchedules"
            | "CreateSchedule"
            | "ListResults"
    )
}

impl Gate for Shed {
    fn caller(&self, call: &Parts) -> Option<Arc<str>> {
        sheds(call.uri.path()).then(|| call.extensions.get::<Caller>().map(Caller::shared_tenant)).flatten()
    }

    fn overloaded(&self, status: &Status) -> bool {
        reason(status) == Some(Reason::Overloaded)
    }

    fn refused(&self) -> Status {
        SHED_CALLS.add(1, &["unary"]);
        let message = "as many calls are under way here as can be answered in time; try again later";
        StatusBuilder::new(Reason::Overloaded, message).retry_after(RETRY_AFTER).build()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_is_never_shed() {
        let sheds = |method: &str| sheds(&format!("/hashmesh.gateway.v1.GatewayService/{method}"));
        for method in ["SubmitBatch", "ComputeDigest", "ListResults"] {
            assert!(sheds(method), "{method}");
        }
        for method in ["CancelSubmission", "SealSubmission", "PauseWork", "GetSubmission", "GetStats", "SubmitTasks"] {
            assert!(!sheds(method), "{method}");
        }
        assert!(!super::sheds("/hashmesh.admin.v1.AdminService/RevokeKey"));
    }
}
