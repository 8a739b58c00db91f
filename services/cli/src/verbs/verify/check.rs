//! Prints what became of each entry of a manifest.

use hashmesh::{
    error::TaskReason,
    v1::{OutcomeStatus, PackedOutcomes, Submission},
};
use serde::Serialize;
use serde_json::json;

use crate::verbs::{
    caching::cached_tasks,
    deliver::Printer,
    failure::Failure,
    feed::Unread,
    name::json_key,
    outcome::{JsonRow, Row, for_each},
    output::{Format, Output, put_json},
    reporter::Reporter,
    submission,
    verdict::{Tally, Verdict},
};

/// Prints a sign and a name per line, or objects.
#[derive(Debug)]
pub(super) struct CheckPrinter {
    format: Format,
    quiet: bool,
    reporter: Reporter,
    any: bool,
    tally: Tally,
    cached_tasks: u64,
}

/// An outcome, and what it means here.
#[derive(Serialize)]
struct Checked<T> {
    sign: char,
    #[serde(flatten)]
    outcome: T,
}

impl CheckPrinter {
    pub(super) fn new(format: Format, quiet: bool, reporter: Reporter) -> Self {
        Self { format, quiet, reporter, any: false, tally: Tally::default(), cached_tasks: 0 }
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

    /// How many of the digests came from the cache.
    pub(super) fn cached_tasks(&self) -> u64 {
        self.cached_tasks
    }

    /// What was said.
    pub(super) fn tally(&self) -> &Tally {
        &self.tally
    }

    fn row(&mut self, row: Row<'_>, out: &mut Vec<u8>) -> Result<(), Failure> {
        let verdict = match row.status {
            OutcomeStatus::Succeeded => Verdict::Equal,
            OutcomeStatus::Mismatched => Verdict::Differs,
            OutcomeStatus::Failed | OutcomeStatus::Unspecified => {
                let missing = row.error.is_some_and(|error| error.reason == TaskReason::SourceNotFound.as_str());
                if missing { Verdict::OnlySecond } else { Verdict::Error }
            }
        };
        self.say(row.name, verdict, || row.failure(), &JsonRow { row, submission_id: None }, out)
    }

    fn say(
        &mut self,
        name: &[u8],
        verdict: Verdict,
        why: impl FnOnce() -> String,
        outcome: &impl Serialize,
        out: &mut Vec<u8>,
    ) -> Result<(), Failure> {
        self.tally.count(verdict);
        if self.quiet && verdict == Verdict::Equal {
            return Ok(());
        }
        if self.format == Format::Text {
            if verdict == Verdict::Error {
                self.reporter.trouble(name, &why());
            }
            verdict.put(name, out);
            return Ok(());
        }
        if self.format == Format::Json {
            out.extend_from_slice(if self.any { b",\n" } else { b"\n" });
        }
        self.any = true;
        put_json(out, &Checked { sign: verdict.sign(), outcome })?;
        if self.format == Format::Jsonl {
            out.push(b'\n');
        }
        Ok(())
    }
}

impl Printer for CheckPrinter {
    fn outcomes(&mut self, outcomes: &PackedOutcomes, output: &mut Output) -> Result<(), Failure> {
        self.cached_tasks += cached_tasks(outcomes);
        let algorithms = outcomes.known_algorithms();
        for_each(outcomes, &algorithms, |row| self.row(row, output.buffer()))
    }

    fn unread(&mut self, name: &[u8], why: &Unread, output: &mut Output) -> Result<(), Failure> {
        let (verdict, reason) = match why {
            Unread::Missing => (Verdict::OnlySecond, TaskReason::SourceNotFound),
            Unread::Other(_) => (Verdict::Error, TaskReason::SourceUnreadable),
        };
        let (key, shown) = json_key(name);
        // No position: it never was a task.
        let error = json!({ "reason": reason.as_str(), "message": why.to_string() });
        let outcome = json!({ key: shown, "position": null, "outcome": "failed", "digests": {}, "error": error });
        self.say(name, verdict, || why.to_string(), &outcome, output.buffer())
    }
}
