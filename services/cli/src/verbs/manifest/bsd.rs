//! `SHA256 (NAME) = DIGEST`, as `sha256sum --tag` and BSD's tools write it.

use hashmesh::v1::Algorithm;

use super::{
    entry::{self, Entry, ReadError, put_hex},
    escape::{End, unescape},
};

/// Puts a line.
pub(super) fn write(name: &[u8], algorithm: Algorithm, digest: &[u8], out: &mut Vec<u8>) {
    write_as(name, algorithm, digest, End::Line, out);
}

/// Puts a line as `sha256sum --tag` does, also with `--zero`.
pub(in crate::verbs) fn write_as(name: &[u8], algorithm: Algorithm, digest: &[u8], end: End, out: &mut Vec<u8>) {
    end.mark(name, out);
    out.extend_from_slice(algorithm.tag().as_bytes());
    out.extend_from_slice(b" (");
    end.put_name_within(name, out);
    out.extend_from_slice(b") = ");
    put_hex(digest, out);
    end.put(out);
}

/// Reads a line. None if it does not look like one.
pub(super) fn parse(line: &[u8]) -> Result<Option<Entry>, ReadError> {
    let (escaped, body) = line.strip_prefix(b"\\").map_or((false, line), |body| (true, body));
    let Some(open) = body.iter().position(|byte| *byte == b'(') else { return Ok(None) };
    let tag = body[..open].trim_ascii();
    let looks_like_a_tag =
        !tag.is_empty() && tag.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-/_".contains(byte));
    let Some(close) = body.iter().rposition(|byte| *byte == b')').filter(|_| looks_like_a_tag) else { return Ok(None) };
    let Some(digits) = body[close..].strip_prefix(b")").map(<[u8]>::trim_ascii) else { return Ok(None) };
    let Some(digits) = digits.strip_prefix(b"=").map(<[u8]>::trim_ascii) else { return Ok(None) };
    let algorithm = entry::algorithm(&String::from_utf8_lossy(tag))?;
    let digest = entry::digest(algorithm, digits)?;
    let name = body.get(open + 1..close).ok_or(ReadError::Form)?;
    let name = if escaped { unescape(name).ok_or(ReadError::Form)? } else { name.to_vec() };
    Ok(Some(Entry::of(name, algorithm, digest)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_those_of_coreutils() {
        let mut out = Vec::new();
        write(b"x", Algorithm::Sha512256, &[0], &mut out);
        write(b"x\n", Algorithm::Sha256, &[0], &mut out);
        assert_eq!(out, b"SHA512-256 (x) = 00\n\\SHA256 (x\\n) = 00\n");
    }

    #[test]
    fn the_name_ends_at_the_last_bracket_and_the_tag_decides() {
        let digest = "ab".repeat(20);
        let expected = Entry::of("a) = (b", Algorithm::Sha1, vec![0xab; 20]);
        for line in [format!("SHA1 (a) = (b) = {digest}"), format!("SHA1(a) = (b)= {digest}")] {
            assert_eq!(parse(line.as_bytes()), Ok(Some(expected.clone())), "{line}");
        }
        assert_eq!(parse(b"CRC (x) = 00"), Err(ReadError::Algorithm("CRC".into())));
        assert_eq!(parse(b"SHA256 (x) = 00"), Err(ReadError::Form));
        assert_eq!(parse(b"00  name (x) = 00"), Ok(None));
    }
}
