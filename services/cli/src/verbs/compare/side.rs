//! What one side has: names relative to its root, sorted, each with what is known of it.

use std::{borrow::Cow, io};

use hashmesh::{
    tasks::{Scheme, percent_decoded},
    v1::{Algorithm, OutcomeStatus, PackedOutcomes},
};

use super::packed::Known;
use crate::verbs::{
    deliver::Printer,
    failure::Failure,
    feed::Unread,
    manifest::Manifest,
    outcome::for_each,
    output::Output,
    reporter::Reporter,
    sort::{Pair, Sorted, Sorter},
};

/// Of each side, twice: one run gathers while another is written.
const RUN_BYTES: usize = 32 * 1024 * 1024;

/// What is taken off the front of names.
#[derive(Clone, Debug, Default)]
pub(super) struct Root {
    /// As the user said. Names that are not below it are left out.
    pub(super) said: Option<Vec<u8>>,
    /// The directory that is the other side: names below it are relative to it, all others stay as they are.
    pub(super) other: Option<Vec<u8>>,
}

impl Root {
    /// The name below the root; none if it is not there. Below a URI it is decoded, so that it is what files are called.
    fn relative<'a>(&self, name: &'a [u8]) -> Option<Cow<'a, [u8]>> {
        let root = self.said.as_ref().or(self.other.as_ref());
        let found = root.and_then(|root| Some((below(name, root)?, root)));
        let mut name = match found {
            Some((rest, root)) if matches!(Scheme::of(root), Some(Scheme::File | Scheme::S3)) => {
                return Some(percent_decoded(rest).map_or(Cow::Borrowed(rest), Cow::Owned));
            }
            Some((rest, _)) => rest,
            None if self.said.is_some() => return None,
            None => name,
        };
        while let Some(rest) = name.strip_prefix(b"./") {
            name = rest;
        }
        Some(Cow::Borrowed(name))
    }
}

/// What stands behind `root` and a slash.
fn below<'a>(name: &'a [u8], root: &[u8]) -> Option<&'a [u8]> {
    let root = root.strip_suffix(b"/").unwrap_or(root);
    name.strip_prefix(root)?.strip_prefix(b"/").filter(|rest| !rest.is_empty())
}

/// What one side has.
#[derive(Debug)]
pub(super) struct Side {
    sorter: Sorter,
    root: Root,
    pub(super) algorithms: Vec<Algorithm>,
    /// The part size of its composite digests, where that is known; else 0.
    pub(super) part_bytes: u64,
    pub(super) names: u64,
    /// Lines that are no entries, and names that are not below the root.
    pub(super) malformed: u64,
    pub(super) left_out: u64,
    packed: Vec<u8>,
}

impl Side {
    pub(super) fn new(root: Root) -> Self {
        Self {
            sorter: Sorter::new(RUN_BYTES),
            root,
            algorithms: Vec::new(),
            part_bytes: 0,
            names: 0,
            malformed: 0,
            left_out: 0,
            packed: Vec::new(),
        }
    }

    fn put(&mut self, name: &[u8], known: &Known) -> io::Result<()> {
        let Some(relative) = self.root.relative(name) else {
            self.left_out += 1;
            return Ok(());
        };
        for (algorithm, _) in &known.digests {
            if !self.algorithms.contains(algorithm) {
                self.algorithms.push(*algorithm);
            }
        }
        self.names += 1;
        known.pack(&mut self.packed);
        self.sorter.push(&relative, &self.packed)
    }

    /// Takes all that a manifest has. `who` names the side in what is said about lines.
    pub(super) fn read(mut self, manifest: &mut Manifest, who: &str, reporter: &Reporter) -> io::Result<Self> {
        let mut malformed = 0;
        while let Some(entry) = manifest.next_entry(&mut |line, error| {
            malformed += 1;
            reporter.trouble(format!("{who}, line {line}").as_bytes(), &error.to_string());
        })? {
            self.put(&entry.name, &Known { digests: entry.digests, size: entry.size, trouble: None })?;
        }
        self.malformed = malformed;
        Ok(self)
    }

    /// Takes outcomes.
    pub(super) fn take(&mut self, outcomes: &PackedOutcomes) -> io::Result<()> {
        for_each(outcomes, &outcomes.known_algorithms(), |row| {
            let known = match row.status {
                OutcomeStatus::Succeeded | OutcomeStatus::Mismatched => Known {
                    digests: row.digests().map(|(algorithm, digest)| (algorithm, digest.to_vec())).collect(),
                    size: row.size,
                    trouble: None,
                },
                OutcomeStatus::Failed | OutcomeStatus::Unspecified => Known::trouble(row.failure()),
            };
            self.put(row.name, &known)
        })
    }

    /// All names of the side, each once.
    pub(super) fn sorted(self) -> io::Result<Names> {
        Ok(Names { sorted: self.sorter.sorted()?, ahead: None })
    }
}

/// Takes outcomes as they come.
impl Printer for Side {
    fn outcomes(&mut self, outcomes: &PackedOutcomes, _output: &mut Output) -> Result<(), Failure> {
        self.take(outcomes).map_err(|error| Failure::local("cannot keep the outcomes", &error))
    }

    fn unread(&mut self, name: &[u8], why: &Unread, _output: &mut Output) -> Result<(), Failure> {
        self.put(name, &Known::trouble(why.to_string()))
            .map_err(|error| Failure::local("cannot keep the outcomes", &error))
    }
}

/// The names of a side, in byte order.
#[derive(Debug)]
pub(super) struct Names {
    sorted: Sorted,
    ahead: Option<Pair>,
}

impl Names {
    /// The next name, and all that the side says of it.
    pub(super) fn next_name(&mut self) -> io::Result<Option<(Vec<u8>, Known)>> {
        let first = match self.ahead.take() {
            Some(pair) => pair,
            None => match self.sorted.next_pair()? {
                Some(pair) => pair,
                None => return Ok(None),
            },
        };
        let mut known = unpack(&first)?;
        while let Some(next) = self.sorted.next_pair()? {
            if next.key != first.key {
                self.ahead = Some(next);
                break;
            }
            known.join(unpack(&next)?);
        }
        Ok(Some((first.key, known)))
    }
}

fn unpack(pair: &Pair) -> io::Result<Known> {
    Known::unpack(&pair.value)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "what was sorted is not what was put"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_relative_to_the_root_that_was_said_or_to_the_other_sides_directory() {
        let said = Root { said: Some(b"/srv/data".to_vec()), other: None };
        let other = Root { said: None, other: Some(b"/srv/data/".to_vec()) };
        for (name, by_said, by_other, by_none) in [
            ("/srv/data/a/b", Some("a/b"), "a/b", "/srv/data/a/b"),
            ("/srv/data", None, "/srv/data", "/srv/data"),
            ("/srv/database", None, "/srv/database", "/srv/database"),
            ("./a", None, "a", "a"),
            ("././a", None, "a", "a"),
            (".hidden", None, ".hidden", ".hidden"),
        ] {
            let text =
                |root: &Root| root.relative(name.as_bytes()).map(|name| String::from_utf8(name.to_vec()).unwrap());
            assert_eq!(text(&said).as_deref(), by_said, "{name}");
            assert_eq!(text(&other).as_deref(), Some(by_other), "{name}");
            assert_eq!(text(&Root::default()).as_deref(), Some(by_none), "{name}");
        }
        let bucket = Root { said: Some(b"s3://bucket/".to_vec()), other: None };
        assert_eq!(bucket.relative(b"s3://bucket/a%20b/./c").as_deref(), Some(&b"a b/./c"[..]));
        assert_eq!(bucket.relative(b"s3://other/k"), None);
        let files = Root { said: None, other: Some(b"file:///srv/".to_vec()) };
        assert_eq!(files.relative(b"file:///srv/%FF").as_deref(), Some(&b"\xff"[..]));
        assert_eq!(files.relative(b"file:///etc/%FF").as_deref(), Some(&b"file:///etc/%FF"[..]));
    }
}
