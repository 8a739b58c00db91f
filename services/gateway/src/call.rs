//! What a call brings besides its message.

use tonic::{Request, Status};

use crate::{
    auth::{self, Caller},
    deadline::Deadline,
    reads::Reads,
};

/// Who calls, and until when an answer is of use.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) caller: Caller,
    pub(crate) deadline: Deadline,
}

impl Call {
    /// What this request came with.
    pub(crate) fn of<T>(request: &Request<T>) -> Result<Self, Status> {
        Ok(Self { caller: auth::caller(request)?, deadline: Deadline::of(request) })
    }

    /// What its tasks may name.
    pub(crate) fn reads(&self) -> Reads {
        self.caller.reads()
    }

    /// Whose submissions it sees and makes.
    pub(crate) fn tenant(&self) -> String {
        self.caller.tenant()
    }
}
