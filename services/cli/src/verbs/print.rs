//! Prints outcomes: a manifest, JSON lines, or one JSON document.

use hashmesh::v1::{Algorithm, OutcomeStatus, PackedOutcomes, Submission};
use serde_json::json;

use super::{
    caching::cached_tasks,
    deliver::Printer,
    failure::Failure,
    feed::Unread,
    manifest::ManifestWriter,
    outcome::{JsonRow, Row, for_each},
    output::{Format, Output, put_json},
    reporter::Reporter,
    shape::Shape,
    submission,
};

/// Prints each outcome as it comes; in text only what has digests, the rest goes to standard error.
#[derive(Debug)]
pub(super) struct OutcomePrinter {
    shape: Shape,
    manifest: ManifestWriter,
    reporter: Reporter,
    /// Named in each object where outcomes of several submissions are mixed.
    submission_id: Option<String>,
    any: bool,
    cached_tasks: u64,
}

impl OutcomePrinter {
    pub(super) fn new(shape: Shape, reporter: Reporter) -> Self {
        Self {
            shape,
            manifest: ManifestWriter::new(shape.manifest),
            reporter,
            submission_id: None,
            any: false,
            cached_tasks: 0,
        }
    }

    /// What follows are outcomes of this submission, among others'.
    pub(super) fn name_submission(&mut self, submission_id: &str) {
        self.submission_id = Some(submission_id.to_owned());
    }

    /// How many of the digests came from the cache.
    pub(super) fn cached_tasks(&self) -> u64 {
        self.cached_tasks
    }

    /// Puts what comes before all outcomes.
    pub(super) fn begin(&self, output: &mut Output) {
        if self.shape.output == Format::Json {
            output.buffer().extend_from_slice(b"{\"outcomes\":[");
        }
    }

    /// Puts what comes after all outcomes.
    pub(super) fn end(&self, last: &Submission, output: &mut Output) -> Result<(), Failure> {
        if self.shape.output == Format::Json {
            output.buffer().extend_from_slice(b"\n],\"submission\":");
            put_json(output.buffer(), &submission::json(last))?;
            output.buffer().extend_from_slice(b"}\n");
        }
        Ok(())
    }

    fn row(&mut self, row: Row<'_>, out: &mut Vec<u8>) -> Result<(), Failure> {
        match row.status {
            OutcomeStatus::Failed | OutcomeStatus::Unspecified => self.reporter.trouble(row.name, &row.failure()),
            OutcomeStatus::Mismatched => self.reporter.trouble(row.name, "has another digest than was expected"),
            OutcomeStatus::Succeeded => {}
        }
        if self.shape.output == Format::Text {
            if row.status != OutcomeStatus::Failed
                && let Err(why) = self.manifest.entry(row.name, row.size, row.digests(), out)
            {
                self.reporter.trouble(row.name, &format!("is not in the manifest: {why}"));
            }
            return Ok(());
        }
        if self.shape.output == Format::Json {
            out.extend_from_slice(if self.any { b",\n" } else { b"\n" });
        }
        self.any = true;
        put_json(out, &JsonRow { row, submission_id: self.submission_id.as_deref() })?;
        if self.shape.output == Format::Jsonl {
            out.push(b'\n');
        }
        Ok(())
    }
}

impl Printer for OutcomePrinter {
    fn outcomes(&mut self, outcomes: &PackedOutcomes, output: &mut Output) -> Result<(), Failure> {
        self.cached_tasks += cached_tasks(outcomes);
        let algorithms = outcomes.known_algorithms();
        if self.shape.output == Format::Text {
            self.shape.check(&algorithms)?;
            self.manifest.begin(&algorithms, output.buffer());
        }
        for_each(outcomes, &algorithms, |row| self.row(row, output.buffer()))
    }

    fn unread(&mut self, name: &[u8], why: &Unread, _output: &mut Output) -> Result<(), Failure> {
        self.reporter.trouble(name, &why.to_string());
        Ok(())
    }
}

/// The digests of one input that became no task, in the same forms.
pub(super) fn put_single(
    shape: Shape,
    name: &[u8],
    size: u64,
    digests: &[(Algorithm, Vec<u8>)],
    out: &mut Vec<u8>,
) -> Result<(), Failure> {
    if shape.output == Format::Text {
        let algorithms: Vec<Algorithm> = digests.iter().map(|(algorithm, _)| *algorithm).collect();
        let mut manifest = ManifestWriter::new(shape.manifest);
        manifest.begin(&algorithms, out);
        let digests = digests.iter().map(|(algorithm, digest)| (*algorithm, digest.as_slice()));
        return manifest
            .entry(name, Some(size), digests, out)
            .map_err(|error| Failure::local("cannot write the manifest", &error));
    }
    let map: serde_json::Map<_, _> =
        digests.iter().map(|(algorithm, digest)| (algorithm.name().to_owned(), json!(hex::encode(digest)))).collect();
    let (key, name) = super::name::json_key(name);
    put_json(out, &json!({ key: name, "position": 1, "outcome": "succeeded", "digests": map }))?;
    out.push(b'\n');
    Ok(())
}
