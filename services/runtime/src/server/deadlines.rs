//! How long the calls of a server may take.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use hashmesh::error::{Reason, StatusBuilder};
use hashmesh_middleware::deadline::{DeadlineLayer, Limits};
use tonic::Status;

use crate::calls::methods;

/// A unary call at most, its request's body included.
pub(super) const LONGEST: Duration = Duration::from_secs(60);

/// The layer for every method: streams last as long as their clients want, others [`LONGEST`] or what `patient` says.
pub(super) fn layer(patient: BTreeMap<&'static str, Duration>) -> DeadlineLayer {
    let longest =
        move |path: &str| (!methods().get(path).streams).then(|| patient.get(path).copied().unwrap_or(LONGEST));
    DeadlineLayer::new(Limits { longest: Arc::new(longest), exceeded })
}

/// What the caller of a call that took too long is told.
fn exceeded() -> Status {
    let message = "the call's deadline passed; what it asked for may still happen";
    StatusBuilder::new(Reason::DeadlineExceeded, message).build()
}
