//! `file:` URIs of absolute paths (RFC 8089, RFC 3986). Paths are bytes, so the escaping is by byte.

const PREFIX: &[u8] = b"file://";
const HEX: &[u8; 16] = b"0123456789ABCDEF";

/// The `file:` URI of an absolute path: every byte outside RFC 3986's unreserved set and `/` is percent-encoded.
#[must_use]
pub fn file_uri(path: &[u8]) -> String {
    let mut uri = String::with_capacity(PREFIX.len() + path.len());
    uri.push_str("file://");
    for byte in path {
        if *byte == b'/' || unreserved(*byte) {
            uri.push(char::from(*byte));
        } else {
            uri.push('%');
            uri.push(char::from(HEX[usize::from(byte >> 4)]));
            uri.push(char::from(HEX[usize::from(byte & 15)]));
        }
    }
    uri
}

/// The absolute path that a `file:` URI names; none if it is not one that [`validate`](super::validate) takes.
#[must_use]
pub fn file_path(uri: &[u8]) -> Option<Vec<u8>> {
    check(uri).ok()?;
    let escaped = &uri[PREFIX.len()..];
    let mut path = Vec::with_capacity(escaped.len());
    let mut rest = escaped;
    while let [byte, tail @ ..] = rest {
        rest = tail;
        if *byte != b'%' {
            path.push(*byte);
            continue;
        }
        let (value, tail) = escape(tail)?;
        path.push(value);
        rest = tail;
    }
    Some(path)
}

/// Checks all of a URI but its length; the error says what was wanted.
pub(super) fn check(uri: &[u8]) -> Result<(), String> {
    let Some(path) = uri.strip_prefix(PREFIX) else {
        return Err(format!(
            "must be `file:///absolute/path`; other schemes are not supported yet, found {:?}",
            String::from_utf8_lossy(&uri[..uri.len().min(40)])
        ));
    };
    if path.first() != Some(&b'/') {
        return Err("must be `file:///absolute/path`: without a host, the path from the root".to_owned());
    }
    let mut rest = path;
    while let [byte, tail @ ..] = rest {
        rest = tail;
        if *byte == b'%' {
            let (value, tail) = escape(tail).ok_or("a `%` must be followed by two hexadecimal digits")?;
            if value == 0 || value == b'/' {
                return Err(format!("%{value:02X} cannot be part of a file's name"));
            }
            rest = tail;
        } else if !path_character(*byte) {
            return Err(format!("the byte 0x{byte:02X} must be percent-encoded, as %{byte:02X}"));
        }
    }
    Ok(())
}

fn escape(digits: &[u8]) -> Option<(u8, &[u8])> {
    let [high, low, rest @ ..] = digits else { return None };
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    Some((digit(*high)? << 4 | digit(*low)?, rest))
}

/// RFC 3986, 2.3.
fn unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// RFC 3986, 3.3: what may stand in a path unescaped. We write less, and read all of it.
fn path_character(byte: u8) -> bool {
    unreserved(byte)
        || matches!(
            byte,
            b'/' | b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b';' | b'=' | b':' | b'@'
        )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_absolute_path_survives_its_uri(tail in prop::collection::vec(1_u8.., 0..40)) {
            let path = [b"/".as_slice(), &tail].concat();
            let uri = file_uri(&path);
            prop_assert!(uri.is_ascii());
            prop_assert_eq!(file_path(uri.as_bytes()), Some(path));
        }
    }

    #[test]
    fn only_bytes_outside_the_unreserved_set_are_escaped() {
        assert_eq!(file_uri(b"/a b/%~\xff\n?#"), "file:///a%20b/%25~%FF%0A%3F%23");
        assert_eq!(file_path(b"file:///a+b,c@%2b%2B").unwrap(), b"/a+b,c@++");
    }

    #[test]
    fn a_uri_that_is_no_plain_absolute_path_is_refused_with_the_remedy() {
        for (uri, remedy) in [
            ("s3://bucket/key", "other schemes"),
            ("https://host/", "other schemes"),
            ("FILE:///x", "other schemes"),
            ("file:/x", "file:///absolute/path"),
            ("", "file:///absolute/path"),
            ("file://host/x", "without a host"),
            ("file://", "without a host"),
            ("file:///a b", "%20"),
            ("file:///a?b", "%3F"),
            ("file:///a#b", "%23"),
            ("file:///ä", "%C3"),
            ("file:///a%", "two hexadecimal digits"),
            ("file:///a%2", "two hexadecimal digits"),
            ("file:///a%g0", "two hexadecimal digits"),
            ("file:///a%+1", "two hexadecimal digits"),
            ("file:///a%00", "%00 cannot"),
            ("file:///a%2f", "%2F cannot"),
        ] {
            let error = check(uri.as_bytes()).unwrap_err();
            assert!(error.contains(remedy), "{uri}: {error}");
            assert_eq!(file_path(uri.as_bytes()), None);
        }
    }
}
