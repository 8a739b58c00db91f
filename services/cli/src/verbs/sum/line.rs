//! A line of a file of checksums, taken or refused exactly as `sha256sum -c` does (coreutils' `split_3`), but that any of our
//! algorithms may be named by its tag or known by its digest's length. [`crate::verbs::manifest`] reads the same forms for the mesh, and
//! takes more: there a line that is refused is a task that is missing.

use hashmesh::v1::Algorithm;

use crate::verbs::manifest::{Hints, unescape};

/// What a line says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct CheckLine {
    pub(super) name: Vec<u8>,
    pub(super) algorithm: Algorithm,
    pub(super) digest: Vec<u8>,
}

/// How lines are understood, by what was seen before.
#[derive(Debug)]
pub(super) struct Reader {
    hints: Hints,
    part_bytes: u64,
    /// Lines have one space before the name (`md5 -r` of the BSDs), or two characters. The first line decides, for all files: mixed, a name
    /// could begin with a space that is none of it.
    reversed: Option<bool>,
}

/// A line that is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Skip {
    /// Empty, or a comment.
    Nothing,
    Malformed,
}

impl Reader {
    /// `algorithms`: the only ones that are taken; empty: all of ours.
    pub(super) fn new(algorithms: Vec<Algorithm>, part_bytes: u64) -> Self {
        Self { hints: Hints { algorithms, part_bytes }, part_bytes, reversed: None }
    }

    /// Reads a line without its LF.
    pub(super) fn read(&mut self, line: &[u8]) -> Result<CheckLine, Skip> {
        if line.first() == Some(&b'#') {
            return Err(Skip::Nothing);
        }
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() {
            return Err(Skip::Nothing);
        }
        // Where C ends a line.
        let line = line.split(|byte| *byte == 0).next().unwrap_or_default();
        self.split(line).ok_or(Skip::Malformed)
    }

    fn split(&mut self, line: &[u8]) -> Option<CheckLine> {
        let body = skip_blanks(line);
        let (escaped, body) = body.strip_prefix(b"\\").map_or((false, body), |body| (true, body));
        if let Some((algorithm, rest)) = self.tag(body) {
            let (name, digits) = split_tagged(rest)?;
            let digest = decode(digits).filter(|digest| digest.len() == algorithm.digest_bytes())?;
            return Some(CheckLine { name: named(name, escaped)?, algorithm, digest });
        }
        let end = body.iter().position(|byte| is_blank(*byte))?;
        let digest = decode(&body[..end])?;
        let algorithm = self.hints.by_length(digest.len()).ok()?;
        let rest = &body[end + 1..];
        let name = match rest {
            [] => return None,
            [b' ' | b'*', name @ ..] if !name.is_empty() => {
                // A name that begins so, of a reversed line.
                if *self.reversed.get_or_insert(false) { rest } else { name }
            }
            name => {
                if !*self.reversed.get_or_insert(true) {
                    return None;
                }
                name
            }
        };
        Some(CheckLine { name: named(name, escaped)?, algorithm, digest })
    }

    /// The algorithm that a line begins with, and what follows its tag.
    fn tag<'a>(&self, body: &'a [u8]) -> Option<(Algorithm, &'a [u8])> {
        let end = body.iter().position(|byte| matches!(byte, b' ' | b'('))?;
        let tag = &body[..end];
        let named = Algorithm::ALL.into_iter().find(|algorithm| algorithm.tag().as_bytes() == tag)?;
        let taken = self.hints.algorithms.is_empty() || self.hints.algorithms.contains(&named);
        let possible = self.part_bytes > 0 || !named.composite();
        (taken && possible).then_some((named, &body[end..]))
    }
}

/// ` (NAME) = DIGITS`.
fn split_tagged(rest: &[u8]) -> Option<(&[u8], &[u8])> {
    let rest = rest.strip_prefix(b" ").unwrap_or(rest).strip_prefix(b"(")?;
    let close = rest.iter().rposition(|byte| *byte == b')')?;
    let digits = skip_blanks(skip_blanks(&rest[close + 1..]).strip_prefix(b"=")?);
    Some((&rest[..close], digits))
}

fn named(name: &[u8], escaped: bool) -> Option<Vec<u8>> {
    if escaped { unescape(name) } else { Some(name.to_vec()) }
}

fn decode(digits: &[u8]) -> Option<Vec<u8>> {
    hex::decode(digits).ok().filter(|digest| !digest.is_empty())
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

fn skip_blanks(text: &[u8]) -> &[u8] {
    let start = text.iter().position(|byte| !is_blank(*byte)).unwrap_or(text.len());
    &text[start..]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<(String, Algorithm), Skip> {
        let read = Reader::new(Vec::new(), 0).read(line.as_bytes())?;
        Ok((String::from_utf8(read.name).unwrap(), read.algorithm))
    }

    #[test]
    fn a_line_is_taken_by_tag_or_length() {
        let (md5, sha256, sha512) = ("0a".repeat(16), "0B".repeat(32), "0c".repeat(64));
        for (line, name, algorithm) in [
            (format!("{sha256}  a"), "a", Algorithm::Sha256),
            (format!(" \t{md5} * a \r"), " a ", Algorithm::Md5),
            (format!("{md5} a"), "a", Algorithm::Md5),
            (format!("{md5}\t a"), "a", Algorithm::Md5),
            (format!("{sha512}  a"), "a", Algorithm::Sha512),
            (format!("SHA512 (a) = {sha512}"), "a", Algorithm::Sha512),
            (format!("  MD5(a) b)= {md5}"), "a) b", Algorithm::Md5),
            (format!("BLAKE3 (a) ={sha256}"), "a", Algorithm::Blake3),
            (format!("\\{md5}  a\\nb\\\\"), "a\nb\\", Algorithm::Md5),
            (format!("\\SHA512-256 (a\\r) = {sha256}"), "a\r", Algorithm::Sha512256),
        ] {
            assert_eq!(read(&line), Ok((name.to_owned(), algorithm)), "{line}");
        }
    }

    #[test]
    fn what_coreutils_refuses_is_refused() {
        let md5 = "0a".repeat(16);
        for line in ["", "\r", "# x", &format!("#{md5}  a")] {
            assert_eq!(read(line), Err(Skip::Nothing), "{line}");
        }
        // One space, and a name that is another.
        assert!(read(&format!("{md5}  ")).is_ok());
        for line in [
            format!("{md5} "),
            md5.clone(),
            format!("{md5}0  a"),
            format!("{}  a", &md5[2..]),
            format!("MD5  (a) = {md5}"),
            format!("MD5 (a) = {md5} "),
            format!("MD5 (a) {md5}"),
            format!("MD5 (a) = {}", &md5[2..]),
            format!("md5 (a) = {md5}"),
            format!("MD5-COMPOSITE (a) = {md5}"),
            format!("\\{md5}  a\\x"),
            format!("\\{md5}  a\\"),
            " # x".to_owned(),
        ] {
            assert_eq!(read(&line), Err(Skip::Malformed), "{line}");
        }
    }

    #[test]
    fn lines_with_one_space_and_with_two_are_not_mixed() {
        let md5 = "0a".repeat(16);
        let mut reader = Reader::new(Vec::new(), 0);
        let mut name = |line: String| reader.read(line.as_bytes()).map(|line| String::from_utf8(line.name).unwrap());
        assert_eq!(name(format!("{md5} a")), Ok("a".to_owned()));
        assert_eq!(name(format!("{md5}  a")), Ok(" a".to_owned()));
        let mut reader = Reader::new(Vec::new(), 0);
        reader.read(format!("{md5}  a").as_bytes()).unwrap();
        assert_eq!(reader.read(format!("{md5} a").as_bytes()), Err(Skip::Malformed));
    }

    #[test]
    fn algorithms_that_were_named_are_the_only_ones() {
        let mut reader = Reader::new(vec![Algorithm::Blake3, Algorithm::Sha1], 0);
        let digest = "0a".repeat(32);
        assert_eq!(reader.read(format!("{digest}  a").as_bytes()).map(|line| line.algorithm), Ok(Algorithm::Blake3));
        assert_eq!(reader.read(format!("SHA256 (a) = {digest}").as_bytes()), Err(Skip::Malformed));
    }
}
