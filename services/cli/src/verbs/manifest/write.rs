//! Writing a manifest.

use hashmesh::v1::Algorithm;

use super::escape::{escape, needs_escape};

const HEX: &[u8; 16] = b"0123456789abcdef";

/// `DIGEST  NAME`, as `sha256sum` writes it.
pub(in crate::verbs) fn write_line(name: &[u8], digest: &[u8], out: &mut Vec<u8>) {
    begin(name, out);
    write_hex(digest, out);
    out.extend_from_slice(b"  ");
    end(name, out);
    out.push(b'\n');
}

/// `SHA256 (NAME) = DIGEST`, as `sha256sum --tag` writes it.
pub(in crate::verbs) fn write_tagged(name: &[u8], algorithm: Algorithm, digest: &[u8], out: &mut Vec<u8>) {
    begin(name, out);
    out.extend_from_slice(algorithm.tag().as_bytes());
    out.extend_from_slice(b" (");
    end(name, out);
    out.extend_from_slice(b") = ");
    write_hex(digest, out);
    out.push(b'\n');
}

fn begin(name: &[u8], out: &mut Vec<u8>) {
    if needs_escape(name) {
        out.push(b'\\');
    }
}

fn end(name: &[u8], out: &mut Vec<u8>) {
    if needs_escape(name) { escape(name, out) } else { out.extend_from_slice(name) }
}

fn write_hex(digest: &[u8], out: &mut Vec<u8>) {
    for byte in digest {
        out.push(HEX[usize::from(byte >> 4)]);
        out.push(HEX[usize::from(byte & 15)]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_those_of_coreutils() {
        let mut out = Vec::new();
        write_line(b"a b", &[0xab, 0x01], &mut out);
        write_line(b"back\\slash\nline\rreturn", &[0xff], &mut out);
        write_line(b"-\xff", &[0x10], &mut out);
        write_tagged(b"x", Algorithm::Sha512256, &[0], &mut out);
        write_tagged(b"x\n", Algorithm::Sha256, &[0], &mut out);
        let expected: &[u8] =
            b"ab01  a b\n\\ff  back\\\\slash\\nline\\rreturn\n10  -\xff\nSHA512-256 (x) = 00\n\\SHA256 (x\\n) = 00\n";
        assert_eq!(out, expected);
    }
}
