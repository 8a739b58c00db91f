//! BagIt's payload manifests, `manifest-ALGORITHM.txt` (RFC 8493, 2.1.3): `DIGEST NAME`, in UTF-8, with CR, LF and `%` of
//! names percent-encoded, and nothing else.
//!
//! The file's name says the algorithm, so a manifest has one. Names are relative to the bag and begin with `data/`. Writers
//! older than the RFC (`bagit.py` up to 1.9) encode CR and LF only: a name with `%25`, `%0A` or `%0D` in it comes back from
//! them as another name.

use std::path::Path;

use hashmesh::v1::Algorithm;

use super::{
    Unwritable,
    entry::{Entry, Hints, ReadError, put_hex},
};

const ENCODED: [(u8, &[u8; 3]); 3] = [(b'\n', b"%0A"), (b'\r', b"%0D"), (b'%', b"%25")];

/// Puts a line.
pub(super) fn write(name: &[u8], digest: &[u8], out: &mut Vec<u8>) -> Result<(), Unwritable> {
    if std::str::from_utf8(name).is_err() {
        return Err(Unwritable::NotUtf8("BagIt's"));
    }
    // Any number of spaces and tabs may stand before a name.
    if name.starts_with(b" ") || name.starts_with(b"\t") {
        return Err(Unwritable::LeadingSpace("BagIt's"));
    }
    put_hex(digest, out);
    out.extend_from_slice(b"  ");
    for byte in name {
        match ENCODED.iter().find(|(plain, _)| plain == byte) {
            Some((_, encoded)) => out.extend_from_slice(*encoded),
            None => out.push(*byte),
        }
    }
    out.push(b'\n');
    Ok(())
}

/// Reads a line.
pub(super) fn parse(line: &[u8], hints: &Hints) -> Result<Entry, ReadError> {
    let space = line.iter().position(|byte| matches!(byte, b' ' | b'\t')).ok_or(ReadError::Form)?;
    let digest = hex::decode(&line[..space]).map_err(|_| ReadError::Form)?;
    let name = &line[space..];
    let name = &name[name.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count()..];
    // As md5sum marks binary mode, in bags that were made with it.
    let name = name.strip_prefix(b"*").filter(|name| name.starts_with(b"data/")).unwrap_or(name);
    if name.is_empty() {
        return Err(ReadError::Form);
    }
    Ok(Entry::of(decode(name), hints.by_length(digest.len())?, digest))
}

fn decode(encoded: &[u8]) -> Vec<u8> {
    let mut name = Vec::with_capacity(encoded.len());
    let mut rest = encoded;
    while let [byte, tail @ ..] = rest {
        let escape = rest.get(..3).map(<[u8]>::to_ascii_uppercase);
        let plain = escape.and_then(|escape| ENCODED.iter().find(|(_, encoded)| encoded[..] == escape[..]));
        match plain {
            Some((plain, _)) => {
                name.push(*plain);
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

/// The algorithm of a manifest with this file name; none if it is no bag's.
pub(super) fn algorithm_of(path: &Path) -> Option<Algorithm> {
    let name = path.file_name()?.to_str()?;
    let rest = name.strip_prefix("tagmanifest-").or_else(|| name.strip_prefix("manifest-"))?;
    rest.strip_suffix(".txt")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn any_whitespace_separates_and_three_characters_are_encoded() {
        let digest = "ab".repeat(16);
        let expected = Entry::of("data/a b\n%0A\r%", Algorithm::Md5, vec![0xab; 16]);
        for between in [" ", "  ", "\t \t", " *"] {
            let line = format!("{digest}{between}data/a b%0a%250A%0D%");
            assert_eq!(parse(line.as_bytes(), &Hints::default()), Ok(expected.clone()), "{between:?}");
        }
        for line in ["nonsense", "00ff", "00ff  ", "xx  data/x"] {
            assert_eq!(parse(line.as_bytes(), &Hints::default()), Err(ReadError::Form), "{line}");
        }
    }

    #[test]
    fn the_file_name_says_the_algorithm() {
        for (name, algorithm) in [
            ("bag/manifest-sha512.txt", Some(Algorithm::Sha512)),
            ("tagmanifest-md5.txt", Some(Algorithm::Md5)),
            ("manifest.txt", None),
            ("manifest-x.txt", None),
        ] {
            assert_eq!(algorithm_of(Path::new(name)), algorithm, "{name}");
        }
    }

    proptest! {
        #[test]
        fn every_name_that_may_be_written_is_read_again(name in "[%0aAdD25\r\n \tx/*ü\\\\]{0,12}") {
            let name = format!("data/{name}");
            let mut line = Vec::new();
            write(name.as_bytes(), &[7; 32], &mut line).unwrap();
            prop_assert_eq!(line.pop(), Some(b'\n'));
            prop_assert!(!line.contains(&b'\n') && !line.contains(&b'\r'));
            let expected = Ok(Entry::of(name, Algorithm::Sha256, vec![7; 32]));
            prop_assert_eq!(parse(&line, &Hints::default()), expected);
        }
    }

    #[test]
    fn names_that_its_form_cannot_hold_are_not_written() {
        for name in [&b" x"[..], b"\tx", b"\xff"] {
            write(name, &[7; 32], &mut Vec::new()).unwrap_err();
        }
    }
}
