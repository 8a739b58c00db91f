//! The sums of `rclone hashsum` (`md5sum`, `sha1sum` …): `DIGEST  NAME`, where nothing is escaped by `\`.
//!
//! rclone shows names in its standard encoding instead: control characters as their pictures (LF is `␊`, U+240A), and what
//! would read as such behind a `‛` (U+201B). Such a file looks like one of coreutils, so this form must be named
//! (`--format rclone`); without that, all names but those with control characters are read right anyway. Digests are
//! hexadecimal or, with rclone's `--base64`, base64.

use base64::{Engine as _, engine::general_purpose::URL_SAFE};

use super::entry::{Entry, Hints, ReadError};

/// Reads a line. What rclone had no digest of has none here.
pub(super) fn parse(line: &[u8], hints: &Hints) -> Result<Entry, ReadError> {
    let line = line.trim_ascii_start();
    let end = line.windows(2).position(|pair| pair == b"  ").ok_or(ReadError::Form)?;
    let (digest, name) = (&line[..end], &line[end + 2..]);
    if name.is_empty() {
        return Err(ReadError::Form);
    }
    let name = decode(name);
    if matches!(digest, b"ERROR" | b"UNSUPPORTED") {
        return Ok(Entry { name, ..Entry::default() });
    }
    let digest = hex::decode(digest).ok().or_else(|| URL_SAFE.decode(digest).ok()).ok_or(ReadError::Form)?;
    let algorithm = hints.by_length(digest.len())?;
    Ok(Entry::of(name, algorithm, digest))
}

const QUOTE: [u8; 3] = [0xe2, 0x80, 0x9b];

/// The reverse of rclone's standard encoding, by bytes: names need not be UTF-8.
fn decode(shown: &[u8]) -> Vec<u8> {
    let mut name = Vec::with_capacity(shown.len());
    let mut rest = shown;
    while let [byte, tail @ ..] = rest {
        if let Some(quoted) = rest.strip_prefix(&QUOTE)
            && let Some(literal) = quoted.get(..3).filter(|next| reserved(next))
        {
            name.extend_from_slice(literal);
            rest = &quoted[3..];
            continue;
        }
        match rest.get(..3).and_then(picture) {
            Some(control) => {
                name.push(control);
                rest = &rest[3..];
            }
            None => {
                name.push(*byte);
                rest = tail;
            }
        }
    }
    name
}

/// The control character that is shown by this picture (U+2400 to U+241F and U+2421).
fn picture(character: &[u8]) -> Option<u8> {
    match character {
        [0xe2, 0x90, low @ 0x80..=0x9f] => Some(low - 0x80),
        [0xe2, 0x90, 0xa1] => Some(0x7f),
        _ => None,
    }
}

/// What stands for something else unless it is quoted: pictures, the quote itself, and the wide `.` and `/`.
fn reserved(character: &[u8]) -> bool {
    picture(character).is_some() || character == QUOTE || matches!(character, [0xef, 0xbc, 0x8e | 0x8f])
}

#[cfg(test)]
mod tests {
    use hashmesh::v1::Algorithm;

    use super::*;

    #[test]
    fn names_are_in_rclones_encoding_and_never_escaped() {
        let digest = "ab".repeat(16);
        for (shown, name) in [
            (&b"back\\slash\\n"[..], &b"back\\slash\\n"[..]),
            ("new␊line␡".as_bytes(), b"new\nline\x7f"),
            ("‛␊ ‛‛ ‛．‛x".as_bytes(), "␊ ‛ ．‛x".as_bytes()),
            (b" two  spaces ", b" two  spaces "),
            (b"\xff\xe2\x90", b"\xff\xe2\x90"),
        ] {
            let line = [digest.as_bytes(), b"  ", shown].concat();
            let expected = Entry::of(name, Algorithm::Md5, vec![0xab; 16]);
            assert_eq!(parse(&line, &Hints::default()), Ok(expected), "{}", String::from_utf8_lossy(shown));
        }
    }

    #[test]
    fn base64_is_read_and_what_has_no_digest_has_none() {
        let expected = Entry::of("x", Algorithm::Md5, vec![0xfb; 16]);
        assert_eq!(parse(b"-_v7-_v7-_v7-_v7-_v7-w==  x", &Hints::default()), Ok(expected));
        for line in [&b"           UNSUPPORTED  x"[..], b"ERROR  x"] {
            let expected = Entry { name: b"x".to_vec(), ..Entry::default() };
            assert_eq!(parse(line, &Hints::default()), Ok(expected));
        }
        assert_eq!(parse(b"nonsense", &Hints::default()), Err(ReadError::Form));
    }
}
