//! Reading a manifest, line by line: coreutils' two forms and JSON lines, told apart by what the line looks like.

use hashmesh::v1::Algorithm;
use serde_json::{Map, Value};

use super::escape::unescape;
use crate::verbs::name;

/// A name and the digests it ought to have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::verbs) struct Entry {
    pub(in crate::verbs) name: Vec<u8>,
    pub(in crate::verbs) digests: Vec<(Algorithm, Vec<u8>)>,
}

/// What a line without an algorithm's name may mean.
#[derive(Clone, Debug, Default)]
pub(in crate::verbs) struct Hints {
    /// As the user said; tried in order.
    pub(in crate::verbs) algorithms: Vec<Algorithm>,
}

impl Hints {
    /// The algorithm of a digest of this length: one that the user named, else the usual one.
    fn by_length(&self, bytes: usize) -> Option<Algorithm> {
        let fits = |algorithm: &&Algorithm| algorithm.digest_bytes() == bytes;
        // Of those with 32 bytes, SHA-256 is what a manifest without a name means.
        let usual = [
            Algorithm::Sha256,
            Algorithm::Sha512,
            Algorithm::Sha1,
            Algorithm::Md5,
            Algorithm::Sha384,
            Algorithm::Sha224,
        ];
        if self.algorithms.is_empty() { usual.iter().find(fits) } else { self.algorithms.iter().find(fits) }.copied()
    }
}

/// Why a line is none of a manifest.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(in crate::verbs) enum ReadError {
    #[error("improperly formatted")]
    Form,
    #[error("no algorithm is known for a digest of {0} bytes; name it with --algorithm")]
    Length(usize),
    #[error("unknown algorithm {0:?}")]
    Algorithm(String),
    #[error("the entry has no digest")]
    NoDigest,
}

/// Reads a line without its LF. None for an empty line and for a comment (`#`).
pub(in crate::verbs) fn parse(line: &[u8], hints: &Hints) -> Result<Option<Entry>, ReadError> {
    // As coreutils does, for manifests that went through Windows; a name that ends with CR is written escaped.
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    if line.is_empty() || line.starts_with(b"#") {
        return Ok(None);
    }
    if line.starts_with(b"{") {
        return parse_json(line).map(Some);
    }
    let (escaped, body) = match line.strip_prefix(b"\\") {
        Some(body) => (true, body),
        None => (false, line),
    };
    let (name, algorithm, digest) = match parse_tagged(body)? {
        Some(parts) => parts,
        None => parse_plain(body, hints)?,
    };
    let name = if escaped { unescape(name).ok_or(ReadError::Form)? } else { name.to_vec() };
    Ok(Some(Entry { name, digests: vec![(algorithm, digest)] }))
}

/// The name as it stands in the line, the algorithm, and the digest.
type Parts<'a> = (&'a [u8], Algorithm, Vec<u8>);

/// `SHA256 (NAME) = DIGEST`. None if the line does not look like it.
fn parse_tagged<'a>(line: &'a [u8]) -> Result<Option<Parts<'a>>, ReadError> {
    let Some(open) = line.iter().position(|byte| *byte == b'(') else { return Ok(None) };
    let tag = line[..open].trim_ascii();
    let looks_like_a_tag =
        !tag.is_empty() && tag.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-/_".contains(byte));
    let Some(close) = line.iter().rposition(|byte| *byte == b')').filter(|_| looks_like_a_tag) else { return Ok(None) };
    let Some(digits) = line[close..].trim_ascii_start().strip_prefix(b")").map(<[u8]>::trim_ascii) else {
        return Ok(None);
    };
    let Some(digits) = digits.strip_prefix(b"=").map(<[u8]>::trim_ascii) else { return Ok(None) };
    let tag = String::from_utf8_lossy(tag);
    let algorithm: Algorithm = tag.parse().map_err(|_| ReadError::Algorithm(tag.into_owned()))?;
    let digest = hex::decode(digits).map_err(|_| ReadError::Form)?;
    if digest.len() != algorithm.digest_bytes() || close < open {
        return Err(ReadError::Form);
    }
    Ok(Some((&line[open + 1..close], algorithm, digest)))
}

/// `DIGEST  NAME` or, for a file that was read as binary, `DIGEST *NAME`.
fn parse_plain<'a>(line: &'a [u8], hints: &Hints) -> Result<Parts<'a>, ReadError> {
    let line = line.trim_ascii_start();
    let space = line.iter().position(|byte| *byte == b' ').ok_or(ReadError::Form)?;
    let digest = hex::decode(&line[..space]).map_err(|_| ReadError::Form)?;
    let name =
        line[space..].strip_prefix(b"  ").or_else(|| line[space..].strip_prefix(b" *")).ok_or(ReadError::Form)?;
    if name.is_empty() || digest.is_empty() {
        return Err(ReadError::Form);
    }
    let algorithm = hints.by_length(digest.len()).ok_or(ReadError::Length(digest.len()))?;
    Ok((name, algorithm, digest))
}

/// What `submit --output jsonl` writes.
fn parse_json(line: &[u8]) -> Result<Entry, ReadError> {
    let object: Map<String, Value> = serde_json::from_slice(line).map_err(|_| ReadError::Form)?;
    let name = name::from_json(&object).ok_or(ReadError::Form)?;
    let digests = object.get("digests").and_then(Value::as_object).ok_or(ReadError::Form)?;
    let digests = digests.iter().map(|(algorithm, digest)| {
        let algorithm: Algorithm = algorithm.parse().map_err(|_| ReadError::Algorithm(algorithm.clone()))?;
        let digest = digest.as_str().and_then(|digits| hex::decode(digits).ok()).ok_or(ReadError::Form)?;
        if digest.len() == algorithm.digest_bytes() { Ok((algorithm, digest)) } else { Err(ReadError::Form) }
    });
    let digests = digests.collect::<Result<Vec<_>, _>>()?;
    if digests.is_empty() {
        return Err(ReadError::NoDigest);
    }
    Ok(Entry { name, digests })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{
        super::{write_line, write_tagged},
        *,
    };

    fn entry(name: &[u8], algorithm: Algorithm, digest: Vec<u8>) -> Entry {
        Entry { name: name.to_vec(), digests: vec![(algorithm, digest)] }
    }

    fn read(line: &str) -> Result<Option<Entry>, ReadError> {
        parse(line.as_bytes(), &Hints::default())
    }

    #[test]
    fn both_forms_of_coreutils_are_read_in_text_and_binary_mode() {
        let digest = "ab".repeat(32);
        let expected = entry(b" a  b", Algorithm::Sha256, vec![0xab; 32]);
        for line in
            [format!("{digest}   a  b"), format!("{digest} * a  b"), format!("{}   a  b\r", digest.to_uppercase())]
        {
            assert_eq!(read(&line), Ok(Some(expected.clone())), "{line}");
        }
        let expected = entry(b"a) = (b", Algorithm::Sha1, vec![0xab; 20]);
        assert_eq!(read(&format!("SHA1 (a) = (b) = {}", "ab".repeat(20))), Ok(Some(expected)));
    }

    #[test]
    fn the_length_of_a_digest_names_its_algorithm_unless_the_user_did() {
        let digest = "00".repeat(32);
        let hints = Hints { algorithms: vec![Algorithm::Md5, Algorithm::Blake3] };
        let found = parse(format!("{digest}  x").as_bytes(), &hints);
        assert_eq!(found, Ok(Some(entry(b"x", Algorithm::Blake3, vec![0; 32]))));
        assert_eq!(parse(b"0000  x", &hints), Err(ReadError::Length(2)));
    }

    #[test]
    fn what_is_no_entry_is_skipped_or_refused() {
        assert_eq!(read(""), Ok(None));
        assert_eq!(read("# comment"), Ok(None));
        for line in ["nonsense", "abc  odd number of digits", "zz  x", "{\"name\": 3}", "SHA256 (x) = 00"] {
            assert_eq!(read(line), Err(ReadError::Form), "{line}");
        }
        assert_eq!(read("CRC (x) = 00"), Err(ReadError::Algorithm("CRC".into())));
        let failed = r#"{"name":"x","position":1,"outcome":"failed","digests":{}}"#;
        assert_eq!(read(failed), Err(ReadError::NoDigest));
    }

    #[test]
    fn json_lines_bring_several_digests_and_names_that_are_not_utf8() {
        let line = format!(
            r#"{{"raw_name_base64":"Yv8=","digests":{{"md5":"{}","sha1":"{}"}}}}"#,
            "01".repeat(16),
            "02".repeat(20)
        );
        let digests = vec![(Algorithm::Md5, vec![1; 16]), (Algorithm::Sha1, vec![2; 20])];
        assert_eq!(read(&line), Ok(Some(Entry { name: b"b\xff".to_vec(), digests })));
    }

    proptest! {
        #[test]
        fn every_name_survives_both_forms(
            name in proptest::collection::vec(prop_oneof![Just(b'\\'), Just(b'\n'), Just(b'\r'), Just(b' '), Just(b')'), 1..=255_u8], 1..40),
            digest in proptest::collection::vec(any::<u8>(), 32),
        ) {
            let mut line = Vec::new();
            write_line(&name, &digest, &mut line);
            prop_assert_eq!(line.pop(), Some(b'\n'));
            prop_assert!(!line.contains(&b'\n'));
            let expected = Ok(Some(entry(&name, Algorithm::Sha256, digest.clone())));
            prop_assert_eq!(parse(&line, &Hints::default()), expected);

            line.clear();
            write_tagged(&name, Algorithm::Blake3, &digest, &mut line);
            line.pop();
            let expected = Ok(Some(entry(&name, Algorithm::Blake3, digest)));
            prop_assert_eq!(parse(&line, &Hints::default()), expected);
        }
    }
}
