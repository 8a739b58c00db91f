//! What an error of a service behind us says about asking again.

use hashmesh::error::{self as codes, Reason};
use tonic::Status;
use tonic_types::StatusExt as _;

use crate::error;

/// What an error says about asking again.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The service has answered; it would say the same again.
    Answered,
    /// Who does it is not able to yet. A call that opens something was not executed; of others nobody knows.
    Recovering,
    /// The call was not executed. Perhaps it is known who would.
    NotExecuted { owner: Option<String> },
    /// Nobody knows whether the call was executed.
    Unknown,
}

pub(super) fn judge(status: &Status) -> Verdict {
    match codes::reason(status) {
        Some(Reason::NotOwner) => {
            let owner = status.get_details_error_info().and_then(|mut info| info.metadata.remove("owner"));
            Verdict::NotExecuted { owner }
        }
        Some(Reason::Draining | Reason::CircuitOpen) => Verdict::NotExecuted { owner: None },
        Some(Reason::Recovering) => Verdict::Recovering,
        Some(_) => Verdict::Answered,
        None if error::not_connected(status) => Verdict::NotExecuted { owner: None },
        None if error::lost(status) => Verdict::Unknown,
        None => Verdict::Answered,
    }
}
