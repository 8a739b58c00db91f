//! `DIGEST  NAME`, as `sha256sum` writes it.

use super::{
    entry::{Entry, Hints, ReadError, put_hex},
    escape::{End, unescape},
};

/// Puts a line.
pub(super) fn write(name: &[u8], digest: &[u8], out: &mut Vec<u8>) {
    write_as(name, digest, false, End::Line, out);
}

/// Puts a line as `sha256sum` does: with `--binary`, with `--zero`.
pub(in crate::verbs) fn write_as(name: &[u8], digest: &[u8], binary: bool, end: End, out: &mut Vec<u8>) {
    end.mark(name, out);
    put_hex(digest, out);
    out.extend_from_slice(if binary { b" *" } else { b"  " });
    end.put_name(name, out);
}

/// Reads `DIGEST  NAME` or, for a file that was read as binary, `DIGEST *NAME`.
pub(super) fn parse(line: &[u8], hints: &Hints) -> Result<Entry, ReadError> {
    let (escaped, body) = line.strip_prefix(b"\\").map_or((false, line), |body| (true, body));
    let body = body.trim_ascii_start();
    let space = body.iter().position(|byte| *byte == b' ').ok_or(ReadError::Form)?;
    let digest = hex::decode(&body[..space]).map_err(|_| ReadError::Form)?;
    let name =
        body[space..].strip_prefix(b"  ").or_else(|| body[space..].strip_prefix(b" *")).ok_or(ReadError::Form)?;
    if name.is_empty() || digest.is_empty() {
        return Err(ReadError::Form);
    }
    let algorithm = hints.by_length(digest.len())?;
    let name = if escaped { unescape(name).ok_or(ReadError::Form)? } else { name.to_vec() };
    Ok(Entry::of(name, algorithm, digest))
}

#[cfg(test)]
mod tests {
    use hashmesh::v1::Algorithm;

    use super::*;

    #[test]
    fn lines_are_those_of_coreutils() {
        let mut out = Vec::new();
        write(b"a b", &[0xab, 0x01], &mut out);
        write(b"back\\slash\nline\rreturn", &[0xff], &mut out);
        write(b"-\xff", &[0x10], &mut out);
        let expected: &[u8] = b"ab01  a b\n\\ff  back\\\\slash\\nline\\rreturn\n10  -\xff\n";
        assert_eq!(out, expected);
    }

    #[test]
    fn text_and_binary_mode_are_read() {
        let digest = "ab".repeat(32);
        let expected = Entry::of(" a  b", Algorithm::Sha256, vec![0xab; 32]);
        for line in
            [format!("{digest}   a  b"), format!("{digest} * a  b"), format!("{}   a  b", digest.to_uppercase())]
        {
            assert_eq!(parse(line.as_bytes(), &Hints::default()), Ok(expected.clone()), "{line}");
        }
        for line in ["nonsense", "abc  odd number of digits", "zz  x", "ab\tx"] {
            assert_eq!(parse(line.as_bytes(), &Hints::default()), Err(ReadError::Form), "{line}");
        }
    }
}
