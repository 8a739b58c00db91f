//! Prints outcomes: a manifest, JSON lines, or one JSON document.

use hashmesh::v1::{OutcomeStatus, PackedOutcomes, Submission};
use serde_json::json;

use super::{
    deliver::Printer,
    failure::Failure,
    feed::Unread,
    manifest::{write_line, write_tagged},
    outcome::{JsonRow, Row, for_each},
    output::{Format, Output, put_json},
    reporter::Reporter,
    submission,
};

/// Prints each outcome as it comes; in text only what has digests, the rest goes to standard error.
#[derive(Debug)]
pub(super) struct OutcomePrinter {
    format: Format,
    tag: bool,
    reporter: Reporter,
    /// Named in each object where outcomes of several submissions are mixed.
    submission_id: Option<String>,
    any: bool,
}

impl OutcomePrinter {
    pub(super) fn new(format: Format, tag: bool, reporter: Reporter) -> Self {
        Self { format, tag, reporter, submission_id: None, any: false }
    }

    /// What follows are outcomes of this submission, among others'.
    pub(super) fn name_submission(&mut self, submission_id: &str) {
        self.submission_id = Some(submission_id.to_owned());
    }

    /// Puts what comes before all outcomes.
    pub(super) fn begin(&self, output: &mut Output) {
        if self.format == Format::Json {
            output.buffer().extend_from_slice(b"{\"outcomes\":[");
        }
    }

    /// Puts what comes after all outcomes.
    pub(super) fn end(&self, last: &Submission, output: &mut Output) -> Result<(), Failure> {
        if self.format == Format::Json {
            output.buffer().extend_from_slice(b"\n],\"submission\":");
            put_json(output.buffer(), &submission::json(last))?;
            output.buffer().extend_from_slice(b"}\n");
        }
        Ok(())
    }

    fn row(&mut self, row: Row<'_>, tagged: bool, out: &mut Vec<u8>) -> Result<(), Failure> {
        match row.status {
            OutcomeStatus::Failed | OutcomeStatus::Unspecified => self.reporter.trouble(row.name, &row.failure()),
            OutcomeStatus::Mismatched => self.reporter.trouble(row.name, "has another digest than was expected"),
            OutcomeStatus::Succeeded => {}
        }
        if self.format == Format::Text {
            for (algorithm, digest) in row.digests() {
                if tagged {
                    write_tagged(row.name, algorithm, digest, out);
                } else {
                    write_line(row.name, digest, out);
                }
            }
            return Ok(());
        }
        if self.format == Format::Json {
            out.extend_from_slice(if self.any { b",\n" } else { b"\n" });
        }
        self.any = true;
        put_json(out, &JsonRow { row, submission_id: self.submission_id.as_deref() })?;
        if self.format == Format::Jsonl {
            out.push(b'\n');
        }
        Ok(())
    }
}

impl Printer for OutcomePrinter {
    fn outcomes(&mut self, outcomes: &PackedOutcomes, output: &mut Output) -> Result<(), Failure> {
        let algorithms = outcomes.known_algorithms();
        // The plain form does not say which digest it is.
        let tagged = self.tag || algorithms.len() > 1;
        for_each(outcomes, &algorithms, |row| self.row(row, tagged, output.buffer()))
    }

    fn unread(&mut self, name: &[u8], why: &Unread, _output: &mut Output) -> Result<(), Failure> {
        self.reporter.trouble(name, &why.to_string());
        Ok(())
    }
}

/// The digests of one input that became no task, in the same forms.
pub(super) fn put_single(
    format: Format,
    tag: bool,
    name: &[u8],
    digests: &[(hashmesh::v1::Algorithm, Vec<u8>)],
    out: &mut Vec<u8>,
) -> Result<(), Failure> {
    if format == Format::Text {
        for (algorithm, digest) in digests {
            if tag || digests.len() > 1 {
                write_tagged(name, *algorithm, digest, out);
            } else {
                write_line(name, digest, out);
            }
        }
        return Ok(());
    }
    let map: serde_json::Map<_, _> =
        digests.iter().map(|(algorithm, digest)| (algorithm.name().to_owned(), json!(hex::encode(digest)))).collect();
    let (key, name) = super::name::json_key(name);
    put_json(out, &json!({ key: name, "position": 1, "outcome": "succeeded", "digests": map }))?;
    out.push(b'\n');
    Ok(())
}
