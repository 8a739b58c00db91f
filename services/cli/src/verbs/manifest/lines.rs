//! The lines of one or more files, again and again, in bounded memory.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read as _, Seek as _},
    path::{Path, PathBuf},
};

use flate2::bufread::MultiGzDecoder;

use crate::verbs::spool::unnamed_file;

/// A longer line is none of a manifest: a name of 4,096 bytes, all escaped, with every digest, is far below.
const MAX_LINE_BYTES: u64 = 64 * 1024;
const BUFFER_BYTES: usize = 256 * 1024;

/// A file that is read from its start.
#[derive(Debug)]
pub(in crate::verbs) enum Part {
    Open(File),
    /// Opened when it is its turn: an inventory may have thousands.
    Path(PathBuf),
}

impl Part {
    /// Opens a file; `-` is standard input. What cannot be read twice is copied first.
    pub(in crate::verbs) fn open(path: &Path) -> io::Result<Self> {
        if path.as_os_str() == "-" {
            return copy(&mut io::stdin().lock()).map(Self::Open);
        }
        let mut file = File::open(path)?;
        let metadata = file.metadata()?;
        if metadata.is_dir() {
            return Err(io::Error::new(io::ErrorKind::IsADirectory, "it is a directory"));
        }
        // A pipe that was named (`/dev/fd/63`) is copied like standard input.
        if metadata.is_file() { Ok(Self::Open(file)) } else { copy(&mut file).map(Self::Open) }
    }

    /// Its bytes, decompressed if it begins as gzip does.
    pub(in crate::verbs) fn read(&self) -> io::Result<Box<dyn BufRead + Send>> {
        let mut file = match self {
            Self::Open(file) => file.try_clone()?,
            Self::Path(path) => File::open(path)?,
        };
        file.rewind()?;
        let mut reader = BufReader::with_capacity(BUFFER_BYTES, file);
        if reader.fill_buf()?.starts_with(&[0x1f, 0x8b]) {
            return Ok(Box::new(BufReader::with_capacity(BUFFER_BYTES, MultiGzDecoder::new(reader))));
        }
        Ok(Box::new(reader))
    }
}

fn copy(input: &mut impl io::Read) -> io::Result<File> {
    let mut file = unnamed_file()?;
    io::copy(input, &mut file)?;
    Ok(file)
}

/// The lines of all parts, one after another.
pub(in crate::verbs) struct Lines {
    parts: Vec<Part>,
    next: usize,
    current: Option<Box<dyn BufRead + Send>>,
    line: Vec<u8>,
    /// Of the part that is read.
    number: u64,
}

impl std::fmt::Debug for Lines {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Lines").field("parts", &self.parts).field("next", &self.next).finish_non_exhaustive()
    }
}

/// A line, or that it is too long to be kept.
#[derive(Debug)]
pub(in crate::verbs) enum Line<'a> {
    Whole(&'a [u8]),
    TooLong,
}

impl Lines {
    pub(in crate::verbs) fn new(parts: Vec<Part>) -> Self {
        Self { parts, next: 0, current: None, line: Vec::new(), number: 0 }
    }

    /// Those of one reader, which cannot be read again.
    pub(in crate::verbs) fn of(reader: Box<dyn BufRead + Send>) -> Self {
        Self { current: Some(reader), ..Self::new(Vec::new()) }
    }

    /// Goes back to the first line.
    pub(in crate::verbs) fn rewind(&mut self) {
        self.current = None;
        self.next = 0;
        self.number = 0;
    }

    /// The next line, without its LF, and its number in its file.
    pub(in crate::verbs) fn next_line(&mut self) -> io::Result<Option<(u64, Line<'_>)>> {
        loop {
            let Some(reader) = &mut self.current else {
                let Some(part) = self.parts.get(self.next) else { return Ok(None) };
                self.current = Some(part.read()?);
                self.next += 1;
                self.number = 0;
                continue;
            };
            self.line.clear();
            let length = reader.take(MAX_LINE_BYTES).read_until(b'\n', &mut self.line)?;
            if length == 0 {
                self.current = None;
                continue;
            }
            self.number += 1;
            if self.line.last() == Some(&b'\n') {
                self.line.pop();
            } else if length as u64 == MAX_LINE_BYTES {
                reader.skip_until(b'\n')?;
                return Ok(Some((self.number, Line::TooLong)));
            }
            return Ok(Some((self.number, Line::Whole(&self.line))));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn all(lines: &mut Lines) -> Vec<(u64, Option<String>)> {
        let mut seen = Vec::new();
        while let Some((number, line)) = lines.next_line().unwrap() {
            let text = match line {
                Line::Whole(line) => Some(String::from_utf8(line.to_vec()).unwrap()),
                Line::TooLong => None,
            };
            seen.push((number, text));
        }
        seen
    }

    #[test]
    fn parts_follow_each_other_compressed_or_not_and_can_be_read_again() {
        let directory = tempfile::tempdir().unwrap();
        let plain = directory.path().join("plain");
        std::fs::write(&plain, "a\n\nb").unwrap();
        let compressed = directory.path().join("compressed");
        let mut encoder =
            flate2::write::GzEncoder::new(File::create(&compressed).unwrap(), flate2::Compression::fast());
        encoder.write_all(b"c\nd\n").unwrap();
        encoder.finish().unwrap();
        let mut lines = Lines::new(vec![Part::open(&plain).unwrap(), Part::Path(compressed)]);
        let expected =
            [(1, "a"), (2, ""), (3, "b"), (1, "c"), (2, "d")].map(|(number, text)| (number, Some(text.to_owned())));
        for _ in 0..2 {
            assert_eq!(all(&mut lines), expected);
            lines.rewind();
        }
    }

    #[test]
    fn an_endless_line_is_not_kept() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("long");
        let most = "x".repeat(65_535);
        std::fs::write(&path, format!("{most}\n{most}x\nend")).unwrap();
        let mut lines = Lines::new(vec![Part::open(&path).unwrap()]);
        assert_eq!(all(&mut lines), [(1, Some(most)), (2, None), (3, Some("end".to_owned()))]);
        assert!(lines.line.capacity() < 200_000);
    }
}
