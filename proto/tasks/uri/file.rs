//! `file:` URIs of absolute paths (RFC 8089, RFC 3986). Paths are bytes, so the escaping is by byte.

use super::percent;

const PREFIX: &[u8] = b"file://";

/// The `file:` URI of an absolute path: every byte outside RFC 3986's unreserved set and `/` is percent-encoded.
#[must_use]
pub fn file_uri(path: &[u8]) -> String {
    let mut uri = String::with_capacity(PREFIX.len() + path.len());
    uri.push_str("file://");
    percent::encode(path, &mut uri);
    uri
}

/// The absolute path that a `file:` URI names; none if it is not one that [`validate`](crate::tasks::validate) takes.
#[must_use]
pub fn file_path(uri: &[u8]) -> Option<Vec<u8>> {
    let path = uri.strip_prefix(PREFIX)?;
    check(path).ok()?;
    percent::decode(path)
}

/// The names of a path. `//` and `/./` mean nothing; what `..` means depends on symbolic links, and is for the caller.
pub fn path_names(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.split(|byte| *byte == b'/').filter(|name| !name.is_empty() && *name != b".")
}

/// Checks what stands behind `file://`.
pub(super) fn check(path: &[u8]) -> Result<(), String> {
    if path.first() != Some(&b'/') {
        return Err("must be `file:///absolute/path`: without a host, the path from the root".to_owned());
    }
    percent::check_path(path, |value| {
        let fits = value != 0 && value != b'/';
        if fits { Ok(()) } else { Err(format!("%{value:02X} cannot be part of a file's name")) }
    })
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
            let error = check(&uri.as_bytes()[PREFIX.len()..]).unwrap_err();
            assert!(error.contains(remedy), "{uri}: {error}");
            assert_eq!(file_path(uri.as_bytes()), None);
        }
    }
}
