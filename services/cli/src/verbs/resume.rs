//! What a command that was broken off says about going on.

use hashmesh::{client::ClientError, error::Reason};

use super::failure::Failure;

/// How a command that was broken off can go on.
#[derive(Clone, Copy, Debug)]
pub(super) enum Resume {
    /// By the same command with `--id`.
    ById,
    /// Not: it is to be run again.
    Anew,
}

impl Resume {
    /// What to do about a submission that is open.
    fn advice(self, submission_id: &str) -> String {
        match self {
            Self::ById => format!(
                "what was accepted is stored; to go on, run the same command with --id {submission_id}; to give it up, \
                 `hashmesh cancel {submission_id}`"
            ),
            Self::Anew => format!("run the command again, and `hashmesh cancel {submission_id}`"),
        }
    }

    /// Ctrl-C, before or after the submission was sealed.
    pub(super) fn interrupted(self, submission_id: &str, sealed: bool) -> Failure {
        Failure::Interrupted(if sealed {
            format!("interrupted; the mesh goes on: `hashmesh results {submission_id} --follow` has the outcomes")
        } else {
            format!("interrupted; {}", self.advice(submission_id))
        })
    }

    /// Says what a failure to send means for the submission.
    pub(super) fn explain(self, error: ClientError, submission_id: &str) -> Failure {
        let advice = match error.reason() {
            Some(Reason::SequenceConflict) => {
                "the input is not the same as before; only the same input with the same options goes on with a submission"
                    .to_owned()
            }
            Some(Reason::WriterReplaced) => "another command writes to this submission now".to_owned(),
            _ if matches!(error, ClientError::Unreachable { .. }) => self.advice(submission_id),
            _ => return Failure::Mesh(error),
        };
        Failure::Explained { text: format!("{error} ({advice})"), source: error }
    }

    /// Says what a failure to read outcomes means for the submission.
    pub(super) fn unprinted(self, failure: Failure, submission_id: &str) -> Failure {
        match failure {
            Failure::Mesh(error @ ClientError::Unreachable { .. }) => {
                let text = format!("{error} ({})", self.advice(submission_id));
                Failure::Explained { text, source: error }
            }
            other => other,
        }
    }
}
