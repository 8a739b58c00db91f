//! What is said: lines on standard output, complaints on standard error, each in its place.

use std::io::{self, IsTerminal as _, Write as _};

use super::quote::quote;
use crate::verbs::failure::Failure;

/// The name that messages begin with.
pub(super) const PROGRAM: &str = "hashmesh sum";

/// Written at once from here on.
const FULL_BYTES: usize = 64 * 1024;

/// Standard output and standard error.
#[derive(Debug)]
pub(super) struct Talk {
    lines: Vec<u8>,
    /// Somebody looks: each line is written at once.
    terminal: bool,
    complained: bool,
    failed: Option<io::Error>,
}

impl Talk {
    pub(super) fn new() -> Self {
        Self { lines: Vec::new(), terminal: io::stdout().is_terminal(), complained: false, failed: None }
    }

    /// Where lines are put.
    pub(super) fn lines(&mut self) -> &mut Vec<u8> {
        &mut self.lines
    }

    /// After each line. False if nobody reads them any more.
    pub(super) fn put(&mut self) -> bool {
        if self.terminal || self.lines.len() >= FULL_BYTES {
            self.flush();
        }
        self.failed.is_none()
    }

    /// Says what is wrong, behind the lines so far.
    pub(super) fn complain(&mut self, text: &str) {
        self.complained = true;
        self.note(text);
    }

    /// The same, of a name.
    pub(super) fn complain_of(&mut self, name: &[u8], text: &str) {
        self.complain(&format!("{}: {text}", quote(name)));
    }

    /// Says what is worth knowing, and not wrong.
    pub(super) fn note(&mut self, text: &str) {
        self.flush();
        // Where else could it be said?
        let _ = writeln!(io::stderr(), "{PROGRAM}: {text}");
    }

    /// True if anything was wrong.
    pub(super) fn complained(&self) -> bool {
        self.complained
    }

    fn flush(&mut self) {
        if self.lines.is_empty() || self.failed.is_some() {
            return;
        }
        let mut stdout = io::stdout().lock();
        let written = stdout.write_all(&self.lines).and_then(|()| stdout.flush());
        self.failed = written.err();
        self.lines.clear();
    }

    /// Writes what is left.
    pub(super) fn end(mut self) -> Result<(), Failure> {
        self.flush();
        self.failed.map_or(Ok(()), |error| Err(Failure::output(&error)))
    }
}

/// An error as the C library words it, without its number.
pub(super) fn said(error: &io::Error) -> String {
    let text = error.to_string();
    match error.raw_os_error() {
        Some(number) => text.strip_suffix(&format!(" (os error {number})")).unwrap_or(&text).to_owned(),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_worded_as_the_c_library_does() {
        assert_eq!(said(&io::Error::from_raw_os_error(libc::ENOENT)), "No such file or directory");
        assert_eq!(said(&io::Error::from_raw_os_error(libc::EISDIR)), "Is a directory");
        assert_eq!(said(&io::Error::other("ours (os error 2)")), "ours (os error 2)");
    }
}
