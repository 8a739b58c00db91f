//! Why a verb could not do what it was asked, and the exit code that says so.

use std::{error::Error, io};

use hashmesh::{
    client::ClientError,
    error::{Reason, reason},
};
use tonic::Code;

/// All is well.
pub(super) const OK: u8 = 0;
/// A task failed, differs from what was expected, or was skipped.
pub(super) const TROUBLE: u8 = 1;
/// The command line is wrong.
const USAGE: u8 = 2;
/// Plus the gRPC code: the mesh refused, or could not be reached.
const GRPC: u8 = 64;
/// Ctrl-C, as shells count it: 128 + SIGINT.
const INTERRUPTED: u8 = 130;

/// The exit code of a verb that was refused with this code.
pub(crate) fn exit_code_of(code: Code) -> u8 {
    GRPC.saturating_add(u8::try_from(i32::from(code)).unwrap_or_default())
}

/// Why a verb gave up.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// Arguments that make no sense together.
    #[error("{0}")]
    Usage(String),
    /// The mesh's answer, or that there was none.
    #[error("{0}")]
    Mesh(#[from] ClientError),
    /// As `Mesh`, with what it means here.
    #[error("{text}")]
    Explained {
        /// What it means, and what to do.
        text: String,
        /// The mesh's answer.
        source: ClientError,
    },
    /// Something on this machine.
    #[error("{0}")]
    Local(String),
    /// Ctrl-C. The text says how to go on.
    #[error("{0}")]
    Interrupted(String),
    /// Whoever read standard output has gone: nobody is left to tell.
    #[error("standard output was closed")]
    OutputClosed,
}

impl Failure {
    /// Something on this machine: what failed, and why.
    pub(super) fn local(what: &str, error: &dyn Error) -> Self {
        Self::Local(format!("{what}: {error}"))
    }

    /// Standard output cannot be written.
    pub(super) fn output(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::OutputClosed,
            _ => Self::local("cannot write to standard output", error),
        }
    }

    pub(super) fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) => USAGE,
            Self::Mesh(error) | Self::Explained { source: error, .. } => exit_code_of(error.code()),
            Self::Local(_) | Self::OutputClosed => TROUBLE,
            Self::Interrupted(_) => INTERRUPTED,
        }
    }

    pub(super) fn print(&self) {
        match self {
            Self::OutputClosed => {}
            Self::Interrupted(text) => eprintln!("hashmesh: {text}"),
            other => {
                eprintln!("hashmesh: error: {other}");
                if let Self::Mesh(ClientError::Refused(status)) = other
                    && reason(status) == Some(Reason::KeyMissing)
                {
                    eprintln!("hashmesh: say --api-key @FILE, or set HASHMESH_API_KEY");
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use hashmesh::error::{Reason, StatusBuilder};

    use super::*;

    #[test]
    fn the_exit_code_of_a_refusal_is_64_plus_the_code() {
        let status = StatusBuilder::new(Reason::SubmissionNotFound, "no such submission").build();
        assert_eq!(Failure::Mesh(ClientError::Refused(status)).exit_code(), 69);
        let last = StatusBuilder::new(Reason::Draining, "stopping").build();
        let error = ClientError::Unreachable { server: "x".into(), waited: std::time::Duration::ZERO, last };
        assert_eq!(Failure::Mesh(error).exit_code(), 78);
        assert_eq!(Failure::Usage(String::new()).exit_code(), 2);
    }
}
