//! Checking files against checksums, in the words of coreutils.

use std::{
    fs::File,
    io,
    io::BufReader,
    ops::ControlFlow,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
};

use hashmesh::v1::Algorithm;
use hashmesh_hash::{Entry, Input};

use super::{
    line::{CheckLine, Reader, Skip},
    list::input,
    names::{Named, Names},
    quote::quote,
    talk::{Talk, said},
};
use crate::verbs::manifest::{Line, Lines, put_name};

/// Gives the lines of every file of checksums.
#[derive(Debug)]
pub(super) struct Checks {
    names: Names,
    reader: Reader,
    file: Option<Open>,
}

/// A file of checksums that is being read.
#[derive(Debug)]
struct Open {
    /// As messages name it.
    shown: String,
    stdin: bool,
    lines: Lines,
}

/// What is found in files of checksums.
#[derive(Debug)]
pub(super) enum Found {
    /// A digest to be computed and compared.
    Check { path: PathBuf, line: CheckLine },
    /// A line that is none.
    Malformed { shown: String, number: u64 },
    /// The file is at its end.
    End { shown: String },
    /// It cannot be read, or not further: a whole sentence.
    Wrong(String),
}

impl Entry for Found {
    fn input(&self) -> Input<'_> {
        match self {
            Self::Check { path, .. } => input(path),
            _ => Input::Nothing,
        }
    }

    fn recipe(&self) -> usize {
        match self {
            Self::Check { line, .. } => recipe_of(line.algorithm),
            _ => 0,
        }
    }
}

/// The place of an algorithm's recipe among those of [`Algorithm::ALL`].
fn recipe_of(algorithm: Algorithm) -> usize {
    Algorithm::ALL.iter().position(|one| *one == algorithm).unwrap_or(0)
}

impl Checks {
    pub(super) fn new(names: Names, reader: Reader) -> Self {
        Self { names, reader, file: None }
    }

    fn open(&mut self, path: &Path) -> Option<Found> {
        let stdin = path.as_os_str() == "-";
        let name = if stdin { &b"standard input"[..] } else { path.as_os_str().as_bytes() };
        let shown = quote(name);
        let lines = if stdin {
            Lines::of(Box::new(BufReader::new(io::stdin())))
        } else {
            match File::open(path) {
                Ok(file) => Lines::of(Box::new(BufReader::new(file))),
                Err(error) => return Some(Found::Wrong(format!("{shown}: {}", said(&error)))),
            }
        };
        self.file = Some(Open { shown, stdin, lines });
        None
    }
}

impl Iterator for Checks {
    type Item = Found;

    fn next(&mut self) -> Option<Found> {
        loop {
            let Some(file) = &mut self.file else {
                let found = match self.names.next()? {
                    Named::File(path) => self.open(&path),
                    Named::Wrong(text) => Some(Found::Wrong(text)),
                    Named::Trouble(path, why) => {
                        Some(Found::Wrong(format!("{}: {why}", quote(path.as_os_str().as_bytes()))))
                    }
                    Named::LeftOut(..) => None,
                };
                if found.is_some() {
                    return found;
                }
                continue;
            };
            let (number, line) = match file.lines.next_line() {
                Ok(Some((number, Line::Whole(line)))) => (number, self.reader.read(line)),
                Ok(Some((number, Line::TooLong))) => (number, Err(Skip::Malformed)),
                Ok(None) => return self.file.take().map(|file| Found::End { shown: file.shown }),
                Err(_) => return self.file.take().map(|file| Found::Wrong(format!("{}: read error", file.shown))),
            };
            match line {
                // Standard input cannot be both.
                Ok(line) if file.stdin && line.name == b"-" => {
                    return Some(Found::Malformed { shown: file.shown.clone(), number });
                }
                Ok(line) => {
                    let path = PathBuf::from(std::ffi::OsStr::from_bytes(&line.name));
                    return Some(Found::Check { path, line });
                }
                Err(Skip::Malformed) => return Some(Found::Malformed { shown: file.shown.clone(), number }),
                Err(Skip::Nothing) => {}
            }
        }
    }
}

/// What is said about checks.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Manner {
    pub(super) ignore_missing: bool,
    pub(super) quiet: bool,
    pub(super) status: bool,
    pub(super) strict: bool,
    pub(super) warn: bool,
}

/// Compares and reports.
#[derive(Debug)]
pub(super) struct Checking {
    pub(super) manner: Manner,
    /// What messages call the algorithm.
    pub(super) tag: &'static str,
    /// Of the file of checksums that is being read.
    pub(super) counts: Counts,
    /// A file of checksums did not hold.
    pub(super) failed: bool,
}

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    proper: u64,
    malformed: u64,
    unread: u64,
    mismatched: u64,
    matched: u64,
}

impl Checking {
    pub(super) fn tell(
        &mut self,
        found: &Found,
        digests: Option<io::Result<&[u8]>>,
        talk: &mut Talk,
    ) -> ControlFlow<()> {
        match found {
            Found::Check { line, .. } => {
                if let Some(digest) = digests {
                    self.compare(line, digest, talk);
                }
            }
            Found::Malformed { shown, number } => {
                self.counts.malformed += 1;
                if self.manner.warn {
                    talk.complain(&format!("{shown}: {number}: improperly formatted {} checksum line", self.tag));
                }
            }
            Found::End { shown } => self.end(shown, talk),
            Found::Wrong(text) => {
                // What was counted so far goes with the file that could not be read further.
                self.counts = Counts::default();
                self.failed = true;
                talk.complain(text);
            }
        }
        if talk.put() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    }

    fn compare(&mut self, line: &CheckLine, digest: io::Result<&[u8]>, talk: &mut Talk) {
        self.counts.proper += 1;
        let verdict = match digest {
            Err(error) if self.manner.ignore_missing && error.kind() == io::ErrorKind::NotFound => return,
            Err(error) => {
                self.counts.unread += 1;
                talk.complain_of(&line.name, &said(&error));
                "FAILED open or read"
            }
            Ok(digest) if digest == line.digest => {
                self.counts.matched += 1;
                if self.manner.quiet {
                    return;
                }
                "OK"
            }
            Ok(_) => {
                self.counts.mismatched += 1;
                "FAILED"
            }
        };
        if self.manner.status {
            return;
        }
        let out = talk.lines();
        // Coreutils escapes only what would break the line, and then all.
        if line.name.contains(&b'\n') {
            out.push(b'\\');
            put_name(&line.name, out);
        } else {
            out.extend_from_slice(&line.name);
        }
        out.extend_from_slice(b": ");
        out.extend_from_slice(verdict.as_bytes());
        out.push(b'\n');
    }

    fn end(&mut self, shown: &str, talk: &mut Talk) {
        let counts = std::mem::take(&mut self.counts);
        let Manner { ignore_missing, status, strict, .. } = self.manner;
        if counts.proper == 0 {
            talk.complain(&format!("{shown}: no properly formatted checksum lines found"));
        } else if !status {
            let mut warn = |count: u64, one: &str, many: &str| {
                if count > 0 {
                    talk.note(&format!("WARNING: {count} {}", if count == 1 { one } else { many }));
                }
            };
            warn(counts.malformed, "line is improperly formatted", "lines are improperly formatted");
            warn(counts.unread, "listed file could not be read", "listed files could not be read");
            warn(counts.mismatched, "computed checksum did NOT match", "computed checksums did NOT match");
            if ignore_missing && counts.matched == 0 {
                talk.note(&format!("{shown}: no file was verified"));
            }
        }
        let holds = counts.matched > 0 && counts.mismatched == 0 && counts.unread == 0;
        self.failed |= !holds || (strict && counts.malformed > 0);
    }
}
