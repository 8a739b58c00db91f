//! Prints what became of each entry of a manifest.

use hashmesh::{
    error::TaskReason,
    v1::{OutcomeStatus, PackedOutcomes, Submission},
};
use serde_json::json;

use crate::verbs::{
    deliver::Printer,
    failure::Failure,
    feed::Unread,
    manifest::escape,
    name::json_key,
    outcome::{JsonRow, Row, for_each},
    output::{Format, Output, put_json},
    reporter::Reporter,
    submission,
};

/// Prints `NAME: OK` and the like, as `sha256sum -c` does, or objects.
#[derive(Debug)]
pub(super) struct CheckPrinter {
    format: Format,
    quiet: bool,
    reporter: Reporter,
    any: bool,
    mismatched: u64,
    unreadable: u64,
}

impl CheckPrinter {
    pub(super) fn new(format: Format, quiet: bool, reporter: Reporter) -> Self {
        Self { format, quiet, reporter, any: false, mismatched: 0, unreadable: 0 }
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

    /// True if not every entry is right.
    pub(super) fn flawed(&self) -> bool {
        self.mismatched + self.unreadable > 0
    }

    /// What was wrong, counted.
    pub(super) fn warnings(&self, malformed: u64) -> Vec<String> {
        let counted = [
            (malformed, "improperly formatted", "lines"),
            (self.unreadable, "could not be read", "listed files"),
            (self.mismatched, "did NOT match", "computed checksums"),
        ];
        let wrong = counted.into_iter().filter(|(count, ..)| *count > 0);
        wrong.map(|(count, what, of)| format!("{count} of the {of} {what}")).collect()
    }

    fn row(&mut self, row: Row<'_>, out: &mut Vec<u8>) -> Result<(), Failure> {
        let verdict = match row.status {
            OutcomeStatus::Succeeded => "OK",
            OutcomeStatus::Mismatched => {
                self.mismatched += 1;
                "FAILED"
            }
            OutcomeStatus::Failed | OutcomeStatus::Unspecified => {
                self.unreadable += 1;
                if self.format == Format::Text {
                    self.reporter.trouble(row.name, &row.failure());
                }
                "FAILED open or read"
            }
        };
        if self.format == Format::Text {
            if row.status == OutcomeStatus::Succeeded && self.quiet {
                return Ok(());
            }
            put_verdict(row.name, verdict, out);
            return Ok(());
        }
        self.object(out, &JsonRow { row, submission_id: None })
    }

    fn object(&mut self, out: &mut Vec<u8>, value: &impl serde::Serialize) -> Result<(), Failure> {
        if self.format == Format::Json {
            out.extend_from_slice(if self.any { b",\n" } else { b"\n" });
        }
        self.any = true;
        put_json(out, value)?;
        if self.format == Format::Jsonl {
            out.push(b'\n');
        }
        Ok(())
    }
}

impl Printer for CheckPrinter {
    fn outcomes(&mut self, outcomes: &PackedOutcomes, output: &mut Output) -> Result<(), Failure> {
        let algorithms = outcomes.known_algorithms();
        for_each(outcomes, &algorithms, |row| self.row(row, output.buffer()))
    }

    fn unread(&mut self, name: &[u8], why: &Unread, output: &mut Output) -> Result<(), Failure> {
        self.unreadable += 1;
        let out = output.buffer();
        if self.format == Format::Text {
            self.reporter.trouble(name, &why.to_string());
            put_verdict(name, "FAILED open or read", out);
            return Ok(());
        }
        let missing = matches!(why, Unread::Missing);
        let reason = if missing { TaskReason::SourceNotFound } else { TaskReason::SourceUnreadable }.as_str();
        let (key, name) = json_key(name);
        // No position: it never was a task.
        let error = json!({ "reason": reason, "message": why.to_string() });
        let value = json!({ key: name, "position": null, "outcome": "failed", "digests": {}, "error": error });
        self.object(out, &value)
    }
}

/// `NAME: VERDICT`; a name with a line break is escaped, and the line then starts with `\`.
fn put_verdict(name: &[u8], verdict: &str, out: &mut Vec<u8>) {
    if name.contains(&b'\n') {
        out.push(b'\\');
        escape(name, out);
    } else {
        out.extend_from_slice(name);
    }
    out.extend_from_slice(b": ");
    out.extend_from_slice(verdict.as_bytes());
    out.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdicts_are_those_of_coreutils() {
        let mut out = Vec::new();
        put_verdict(b"a\\b", "OK", &mut out);
        put_verdict(b"a\nb\\", "FAILED", &mut out);
        assert_eq!(out, b"a\\b: OK\n\\a\\nb\\\\: FAILED\n");
    }
}
