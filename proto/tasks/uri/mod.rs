//! The URIs of objects: which are taken, and what they say.
//!
//! | scheme | form |
//! |---|---|
//! | [`file`] | `file:///absolute/path` (RFC 8089) |
//! | [`s3`] | `s3://bucket/key`, perhaps `?versionId=…` |
//! | [`http`] | `http://host[:port]/path?query`, and `https:` |
//! | [`upload`] | `upload://tenant/id` |
//!
//! All are ASCII. What a path or key has besides is percent-encoded, byte by byte: names are bytes.

mod allowed;
mod canonical;
mod file;
mod http;
mod percent;
mod place;
mod s3;
mod upload;

pub use self::{
    allowed::{AllowedSource, AllowedSources, BucketRoot, NoSource, SiteRoot},
    canonical::{canonical_prefix, canonical_uri},
    file::{file_path, file_uri, path_names},
    percent::decode as percent_decoded,
    place::Place,
    s3::{S3Object, s3_object, s3_uri},
    upload::{UploadName, is_upload_id, upload_name, upload_uri},
};

/// Which kind of source a URI names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scheme {
    /// A file that a worker's machine has.
    File,
    /// Without TLS.
    Http,
    /// With it.
    Https,
    /// An object of an S3-compatible store.
    S3,
    /// An object that a client brought to the mesh's own store.
    Upload,
}

/// Stands for the common prefix of URIs that have none: of several schemes.
pub const ANY_SOURCE: &str = "*";

impl Scheme {
    const ALL: [(&'static [u8], Self); 5] = [
        (b"file://", Self::File),
        (b"https://", Self::Https),
        (b"http://", Self::Http),
        (b"s3://", Self::S3),
        (b"upload://", Self::Upload),
    ];

    /// The scheme of a URI, and what stands behind its `//`. Schemes are written in lower case.
    #[must_use]
    pub fn split(uri: &[u8]) -> Option<(Self, &[u8])> {
        Self::ALL.into_iter().find_map(|(prefix, scheme)| Some((scheme, uri.strip_prefix(prefix)?)))
    }

    /// The scheme of a URI.
    #[must_use]
    pub fn of(uri: &[u8]) -> Option<Self> {
        Self::split(uri).map(|(scheme, _)| scheme)
    }

    /// True if the object is read over the network.
    #[must_use]
    pub fn is_remote(self) -> bool {
        self != Self::File
    }
}

/// Checks all of a URI but its length (at most [`MAX_URI_BYTES`](crate::limits::MAX_URI_BYTES)).
///
/// # Errors
/// What was wanted, as the end of a sentence that begins with the URI.
pub fn check_uri(uri: &[u8]) -> Result<(), String> {
    match Scheme::split(uri) {
        Some((Scheme::File, path)) => file::check(path),
        Some((Scheme::Http | Scheme::Https, rest)) => http::check(rest),
        Some((Scheme::S3, rest)) => s3::check(rest),
        Some((Scheme::Upload, rest)) => upload::check(rest),
        None => Err(format!(
            "must begin with `file:///`, `s3://`, `https://`, `http://` or `upload://`, found {:?}",
            String::from_utf8_lossy(&uri[..uri.len().min(40)])
        )),
    }
}

/// What URIs with this common beginning have in common, in the one way in which workers announce what they read, so that
/// the two can be compared: a directory, the beginning of a bucket's keys, a host; or a scheme alone; or [`ANY_SOURCE`].
pub(super) fn directory(common: &[u8]) -> String {
    let end = common.iter().rposition(|byte| *byte == b'/').map_or(0, |slash| slash + 1);
    let found = match Scheme::split(&common[..end]) {
        Some((Scheme::File, b"")) => Some("file://".to_owned()),
        Some((Scheme::File, _)) => file_path(&common[..end]).map(|path| file_uri(&path)),
        Some((Scheme::S3, rest)) => s3::directory(rest),
        // A worker has the whole store or nothing of it.
        Some((Scheme::Upload, _)) => Some("upload://".to_owned()),
        Some((scheme @ (Scheme::Http | Scheme::Https), rest)) => Some(http::origin(scheme, rest)),
        None => None,
    };
    found.unwrap_or_else(|| ANY_SOURCE.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_uris_have_in_common_is_written_as_workers_announce_it() {
        for (common, wanted) in [
            ("file:///srv/a", "file:///srv/"),
            ("file:///srv/%61 b/", "*"),
            ("file:///s%72v/x", "file:///srv/"),
            ("file://", "file://"),
            ("s3://bucket/a%2Bb/c", "s3://bucket/a%2Bb/"),
            ("s3://bucket/a+b/c", "s3://bucket/a%2Bb/"),
            ("s3://bucket/k", "s3://bucket/"),
            ("s3://buck", "s3://"),
            ("https://Example.COM:443/a/b?c", "https://example.com/"),
            ("http://example.com:8080/a/b?c=d/e", "http://example.com:8080/"),
            ("https://example.com", "https://"),
            ("upload://tenant/0123", "upload://"),
            ("upload://", "upload://"),
            ("http", "*"),
            ("", "*"),
        ] {
            assert_eq!(directory(common.as_bytes()), wanted, "{common}");
        }
    }

    #[test]
    fn a_scheme_is_known_by_its_beginning() {
        assert_eq!(Scheme::of(b"https://x/"), Some(Scheme::Https));
        assert_eq!(Scheme::of(b"http://x/"), Some(Scheme::Http));
        for uri in ["ftp://x/", "HTTPS://x/", "s3:/x", "", "data:,x", "gopher://x", "//x/"] {
            assert_eq!(Scheme::of(uri.as_bytes()), None);
            assert!(check_uri(uri.as_bytes()).unwrap_err().contains("must begin with"), "{uri}");
        }
    }
}
