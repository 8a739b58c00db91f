//! The entries of a manifest, read twice in bounded memory.

use std::{
    ffi::OsString,
    fs::File,
    io::{self, BufRead as _, BufReader, Read as _, Seek as _},
    os::unix::ffi::OsStringExt as _,
    path::{Path, PathBuf},
};

use hashmesh::v1::Algorithm;

use crate::verbs::{
    failure::Failure,
    manifest::{Entry, Hints, ReadError, parse},
    spool::unnamed_file,
};

/// A longer line is none of a manifest: a name of 4,096 bytes, all escaped, with every digest, is far below.
const MAX_LINE_BYTES: u64 = 64 * 1024;

/// Told of each line that is no entry: its number, and why.
pub(super) type OnMalformed<'a> = dyn FnMut(u64, &ReadError) + 'a;

/// A manifest that can be read again.
#[derive(Debug)]
pub(super) struct Manifest {
    file: BufReader<File>,
    hints: Hints,
    line: Vec<u8>,
    lines: u64,
    /// Read ahead, to see whether the next line is about the same name.
    ahead: Option<Entry>,
}

/// What a manifest holds.
#[derive(Debug, Default)]
pub(super) struct Scan {
    pub(super) entries: u64,
    pub(super) malformed: u64,
    algorithms: Vec<Algorithm>,
}

impl Scan {
    pub(super) fn has(&self, algorithm: Algorithm) -> bool {
        self.algorithms.contains(&algorithm)
    }
}

impl Entry {
    pub(super) fn path(&self) -> PathBuf {
        PathBuf::from(OsString::from_vec(self.name.clone()))
    }
}

impl Manifest {
    /// Opens it. Standard input is copied to a file first.
    pub(super) fn open(path: &Path, hints: Hints) -> Result<Self, Failure> {
        let opened = if path.as_os_str() == "-" { spool_stdin() } else { File::open(path).and_then(seekable) };
        let file = opened.map_err(|error| Failure::local(&format!("cannot read {}", path.display()), &error))?;
        Ok(Self { file: BufReader::with_capacity(256 * 1024, file), hints, line: Vec::new(), lines: 0, ahead: None })
    }

    /// Reads it from start to end, and goes back to its start.
    pub(super) fn scan(&mut self, malformed: &mut OnMalformed<'_>) -> io::Result<Scan> {
        let mut scan = Scan::default();
        let mut bad = 0;
        while let Some(entry) = self.next_entry(&mut |line, error| {
            bad += 1;
            malformed(line, error);
        })? {
            scan.entries += 1;
            for (algorithm, _) in &entry.digests {
                if !scan.algorithms.contains(algorithm) {
                    scan.algorithms.push(*algorithm);
                }
            }
        }
        scan.malformed = bad;
        self.file.rewind()?;
        self.lines = 0;
        Ok(scan)
    }

    /// The next entry. Neighbouring lines about the same name and different algorithms are one.
    pub(super) fn next_entry(&mut self, malformed: &mut OnMalformed<'_>) -> io::Result<Option<Entry>> {
        let mut entry = match self.ahead.take() {
            Some(entry) => entry,
            None => match self.next_line(malformed)? {
                Some(entry) => entry,
                None => return Ok(None),
            },
        };
        while let Some(next) = self.next_line(malformed)? {
            let repeats =
                next.digests.iter().any(|(algorithm, _)| entry.digests.iter().any(|(known, _)| known == algorithm));
            if next.name != entry.name || repeats {
                self.ahead = Some(next);
                break;
            }
            entry.digests.extend(next.digests);
        }
        Ok(Some(entry))
    }

    fn next_line(&mut self, malformed: &mut OnMalformed<'_>) -> io::Result<Option<Entry>> {
        loop {
            self.line.clear();
            let length = (&mut self.file).take(MAX_LINE_BYTES).read_until(b'\n', &mut self.line)?;
            if length == 0 {
                return Ok(None);
            }
            self.lines += 1;
            if self.line.last() == Some(&b'\n') {
                self.line.pop();
            } else if length as u64 == MAX_LINE_BYTES {
                self.file.skip_until(b'\n')?;
                malformed(self.lines, &ReadError::Form);
                continue;
            }
            match parse(&self.line, &self.hints) {
                Ok(Some(entry)) => return Ok(Some(entry)),
                Ok(None) => {}
                Err(error) => malformed(self.lines, &error),
            }
        }
    }
}

fn spool_stdin() -> io::Result<File> {
    let mut file = unnamed_file()?;
    io::copy(&mut io::stdin().lock(), &mut file)?;
    file.rewind()?;
    Ok(file)
}

/// A pipe that was named (`/dev/fd/63`) is copied like standard input.
fn seekable(mut file: File) -> io::Result<File> {
    if file.metadata()?.is_file() {
        return Ok(file);
    }
    let mut copy = unnamed_file()?;
    io::copy(&mut file, &mut copy)?;
    copy.rewind()?;
    Ok(copy)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(text: &str) -> (tempfile::TempDir, Manifest) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("manifest");
        std::fs::write(&path, text).unwrap();
        (directory, Manifest::open(&path, Hints::default()).unwrap())
    }

    #[test]
    fn neighbouring_lines_about_one_name_are_one_entry() {
        let (md5, sha1) = ("00".repeat(16), "11".repeat(20));
        let text = format!("MD5 (a) = {md5}\nSHA1 (a) = {sha1}\nMD5 (b) = {md5}\nMD5 (b) = {md5}\nSHA1 (a) = {sha1}");
        let (_directory, mut manifest) = manifest(&text);
        let scan = manifest.scan(&mut |_, _| panic!("all is well formed")).unwrap();
        assert_eq!((scan.entries, scan.has(Algorithm::Md5), scan.has(Algorithm::Sha256)), (4, true, false));
        let mut seen = Vec::new();
        while let Some(entry) = manifest.next_entry(&mut |_, _| ()).unwrap() {
            seen.push((String::from_utf8(entry.name).unwrap(), entry.digests.len()));
        }
        assert_eq!(seen, [("a", 2), ("b", 1), ("b", 1), ("a", 1)].map(|(name, digests)| (name.to_owned(), digests)));
    }

    #[test]
    fn lines_that_are_no_entries_are_told_by_number_and_endless_ones_are_not_kept() {
        let text = format!("nonsense\n{}\n# comment\n{}  ok\n", "x".repeat(200_000), "00".repeat(32));
        let (_directory, mut manifest) = manifest(&text);
        let mut told = Vec::new();
        let scan = manifest.scan(&mut |line, _| told.push(line)).unwrap();
        assert_eq!((scan.entries, scan.malformed), (1, 2));
        assert_eq!(told, [1, 2]);
        assert!(manifest.line.capacity() < 200_000);
    }
}
