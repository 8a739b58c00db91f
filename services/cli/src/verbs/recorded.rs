//! The outcomes of a submission that has ended, read from the mesh.

use std::{
    io::{self, BufWriter, Write as _},
    path::Path,
};

use hashmesh::{
    client::{Client, ClientError, ResultsQuery},
    error::{Reason, StatusBuilder},
    v1::{PackedOutcomes, Submission, SubmissionState},
};
use tokio::sync::mpsc;

use super::{
    failure::Failure,
    manifest::Manifest,
    outcome::{JsonRow, for_each},
    spool::unnamed_file,
};

/// Runs of outcomes between the stream and who works on them: about 64 KiB each.
const RUNS_AHEAD: usize = 16;

/// Outcomes by position, for a thread that may wait.
#[derive(Debug)]
pub(super) struct Recorded(mpsc::Receiver<PackedOutcomes>);

impl Iterator for Recorded {
    type Item = PackedOutcomes;

    fn next(&mut self) -> Option<PackedOutcomes> {
        self.0.blocking_recv()
    }
}

/// True if the text is a submission's id and not the name of a file that is there.
pub(super) fn names_a_submission(text: &Path) -> bool {
    let id = text.to_str().is_some_and(|text| text.len() == 36 && uuid::Uuid::try_parse(text).is_ok());
    id && std::fs::symlink_metadata(text).is_err()
}

/// The submission, if it has ended: until then its outcomes are not all there.
pub(super) async fn ended(client: &Client, submission_id: &str) -> Result<Submission, Failure> {
    let submission = client.get_submission(submission_id).await?;
    match submission.state() {
        SubmissionState::Completed | SubmissionState::Cancelled => Ok(submission),
        SubmissionState::Open | SubmissionState::Sealed | SubmissionState::Unspecified => {
            let text =
                format!("submission {submission_id} has not ended; `hashmesh watch {submission_id}` waits for it");
            let status = StatusBuilder::new(Reason::SubmissionNotCompleted, text).build();
            Err(Failure::Mesh(ClientError::Refused(status)))
        }
    }
}

/// Hands all outcomes to `work`, on a thread of its own, and gives what it makes of them.
pub(super) async fn read<T: Send + 'static>(
    client: &Client,
    submission_id: &str,
    work: impl FnOnce(Recorded) -> io::Result<T> + Send + 'static,
) -> Result<T, Failure> {
    let (sender, receiver) = mpsc::channel(RUNS_AHEAD);
    let working = tokio::task::spawn_blocking(move || work(Recorded(receiver)));
    let query = ResultsQuery { submission_id: submission_id.to_owned(), ..ResultsQuery::default() };
    let mut results = client.results(query);
    while let Some(outcomes) = results.next().await? {
        if sender.send(outcomes).await.is_err() {
            // It gave up, and says why.
            break;
        }
    }
    drop(sender);
    let done = working.await.map_err(|error| Failure::local("cannot read the outcomes", &error))?;
    done.map_err(|error| Failure::local("cannot keep the outcomes", &error))
}

/// The outcomes as a manifest in a file without a name. What failed has no digest in it.
pub(super) async fn manifest(client: &Client, submission_id: &str) -> Result<Manifest, Failure> {
    ended(client, submission_id).await?;
    let file = read(client, submission_id, |recorded| {
        let mut writer = BufWriter::with_capacity(256 * 1024, unnamed_file()?);
        for outcomes in recorded {
            for_each(&outcomes, &outcomes.known_algorithms(), |row| {
                serde_json::to_writer(&mut writer, &JsonRow { row, submission_id: None })?;
                writer.write_all(b"\n")
            })?;
        }
        writer.into_inner().map_err(io::IntoInnerError::into_error)
    });
    Ok(Manifest::of_objects(file.await?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_submission_is_named_by_its_id_unless_a_file_has_that_name() {
        let id = "01a1fd89-c9c8-76ce-9ef5-662ca352dd7b";
        assert!(names_a_submission(Path::new(id)));
        for other in ["manifest", "01a1fd89c9c876ce9ef5662ca352dd7b", "", "./01a1fd89-c9c8-76ce-9ef5-662ca352dd7b"] {
            assert!(!names_a_submission(Path::new(other)), "{other}");
        }
    }
}
