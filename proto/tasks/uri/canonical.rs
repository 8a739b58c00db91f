//! The one form of a URI under which an object is known wherever it has been named before.

use url::Url;

use super::{Scheme, file_path, file_uri, path_names, s3_object, s3_uri};

/// The URI of a file, or of an object of a host or store, in its one form. None: it is none of these, or leads through `..`.
#[must_use]
pub fn canonical_uri(uri: &[u8]) -> Option<String> {
    match Scheme::of(uri)? {
        Scheme::File => {
            let path = file_path(uri)?;
            let mut joined = Vec::with_capacity(path.len());
            for name in path_names(&path) {
                if name == b".." {
                    return None;
                }
                joined.push(b'/');
                joined.extend_from_slice(name);
            }
            Some(file_uri(&joined))
        }
        Scheme::S3 => {
            let object = s3_object(uri)?;
            let mut canonical = s3_uri(&object.bucket, &object.key);
            if object.version.is_some() {
                // A version's id is written in one way: as the store gave it.
                let text = std::str::from_utf8(uri).ok()?;
                canonical.push_str(&text[text.find('?')?..]);
            }
            Some(canonical)
        }
        Scheme::Http | Scheme::Https => {
            let mut url = Url::parse(std::str::from_utf8(uri).ok()?).ok()?;
            url.set_fragment(None);
            Some(url.into())
        }
        Scheme::Upload => None,
    }
}

/// The same of the beginning of URIs. What is no URI by itself is left as it is.
#[must_use]
pub fn canonical_prefix(prefix: &str) -> String {
    let Some(mut canonical) = canonical_uri(prefix.as_bytes()) else { return prefix.to_owned() };
    if prefix.ends_with('/') && !canonical.ends_with('/') {
        canonical.push('/');
    }
    canonical
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_of_writing_a_uri_has_one_form() {
        for (written, canonical) in [
            ("file:///srv//data/./a", Some("file:///srv/data/a")),
            ("file:///srv/%64ata/a%20b", Some("file:///srv/data/a%20b")),
            ("file:///srv/../etc", None),
            ("s3://bucket/a//b%2Bc", Some("s3://bucket/a//b%2Bc")),
            ("s3://bucket/%61", Some("s3://bucket/a")),
            ("s3://bucket/a?versionId=x", Some("s3://bucket/a?versionId=x")),
            ("https://EXAMPLE.com:443/a?b", Some("https://example.com/a?b")),
            ("upload:0123", None),
            ("gopher://a", None),
        ] {
            assert_eq!(canonical_uri(written.as_bytes()).as_deref(), canonical, "{written}");
        }
    }

    #[test]
    fn a_prefix_keeps_its_end() {
        for (written, canonical) in [
            ("file:///srv//data/", "file:///srv/data/"),
            ("file:///srv/data", "file:///srv/data"),
            ("s3://bucket/%61/", "s3://bucket/a/"),
            ("s3://bucket/", "s3://bucket/"),
            ("s3://", "s3://"),
            ("", ""),
        ] {
            assert_eq!(canonical_prefix(written), canonical, "{written}");
        }
    }
}
