//! What `--allow-source` says: a directory, a bucket or part of one, a web site or part of one.

use std::{
    ffi::{OsStr, OsString},
    fmt,
    os::unix::ffi::OsStrExt as _,
    path::PathBuf,
};

use hashmesh::{
    limits::MAX_URI_BYTES,
    tasks::{Scheme, s3_object, s3_uri},
};
use url::{Host, Url};

use super::SourcesError;

/// A place that a worker may read from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AllowedSource {
    /// `file:` URIs below this directory.
    Directory(PathBuf),
    /// `s3:` URIs of a bucket.
    Bucket(BucketRoot),
    /// `http:` or `https:` URIs of a host.
    Site(SiteRoot),
}

/// Objects of a bucket whose keys begin alike.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BucketRoot {
    /// `None`: every bucket that the credentials reach.
    bucket: Option<String>,
    /// With `/` at the end, or empty.
    prefix: Vec<u8>,
}

/// What a host has below a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SiteRoot {
    scheme: Scheme,
    /// `None`: every host.
    host: Option<Host<String>>,
    port: Option<u16>,
    /// Begins and ends with `/`.
    path: String,
}

impl AllowedSource {
    /// Reads what was given: a URI of a scheme that is known, else a path.
    ///
    /// # Errors
    /// [`SourcesError::Form`] for a URI that names no such place.
    pub fn parse(text: &OsStr) -> Result<Self, SourcesError> {
        let wrong = |wanted| SourcesError::Form { text: text.to_string_lossy().into_owned(), wanted };
        match Scheme::split(text.as_bytes()) {
            None => Ok(Self::Directory(PathBuf::from(text))),
            Some((Scheme::File, path)) if path.starts_with(b"/") && !path.contains(&b'%') => {
                Ok(Self::Directory(PathBuf::from(OsStr::from_bytes(path))))
            }
            Some((Scheme::File, _)) => Err(wrong("a directory's path, as it is")),
            Some((Scheme::Upload, _)) => Err(wrong("uploads by --upload-store")),
            Some((Scheme::S3, rest)) => BucketRoot::parse(rest).map(Self::Bucket).ok_or_else(|| wrong(BUCKET)),
            Some((scheme @ (Scheme::Http | Scheme::Https), rest)) => {
                let text = text.to_str().ok_or_else(|| wrong(SITE))?;
                let root = if rest.is_empty() { Some(SiteRoot::every(scheme)) } else { SiteRoot::parse(scheme, text) };
                root.map(Self::Site).ok_or_else(|| wrong(SITE))
            }
        }
    }
}

impl fmt::Display for AllowedSource {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory(path) => path.display().fmt(formatter),
            Self::Bucket(root) => formatter.write_str(&root.uri_prefix()),
            Self::Site(root) => formatter.write_str(&root.uri_prefix()),
        }
    }
}

impl From<PathBuf> for AllowedSource {
    fn from(path: PathBuf) -> Self {
        Self::Directory(path)
    }
}

impl TryFrom<OsString> for AllowedSource {
    type Error = SourcesError;

    fn try_from(text: OsString) -> Result<Self, SourcesError> {
        Self::parse(&text)
    }
}

const BUCKET: &str = "s3://BUCKET, s3://BUCKET/PREFIX/, or s3:// for every bucket";
const SITE: &str =
    "https://HOST, https://HOST/PATH/, or https:// for every public host, with no user, query or fragment";

impl BucketRoot {
    fn parse(rest: &[u8]) -> Option<Self> {
        if rest.is_empty() {
            return Some(Self { bucket: None, prefix: Vec::new() });
        }
        let (bucket, prefix) = match rest.iter().position(|byte| *byte == b'/') {
            Some(slash) => (&rest[..slash], &rest[slash + 1..]),
            None => (rest, &b""[..]),
        };
        // As a key would be read.
        let mut probe = [b"s3://", bucket, b"/", prefix].concat();
        if prefix.is_empty() {
            probe.push(b'x');
        } else if !prefix.ends_with(b"/") {
            probe.push(b'/');
        }
        let object = s3_object(&probe).filter(|object| object.version.is_none() && probe.len() <= MAX_URI_BYTES)?;
        let prefix = if prefix.is_empty() { Vec::new() } else { object.key };
        Some(Self { bucket: Some(object.bucket), prefix })
    }

    pub(super) fn uri_prefix(&self) -> String {
        self.bucket.as_ref().map_or_else(|| "s3://".to_owned(), |bucket| s3_uri(bucket, &self.prefix))
    }

    pub(super) fn covers(&self, bucket: &str, key: &[u8]) -> bool {
        self.bucket.as_deref().is_none_or(|ours| ours == bucket) && key.starts_with(&self.prefix)
    }
}

impl SiteRoot {
    fn every(scheme: Scheme) -> Self {
        Self { scheme, host: None, port: None, path: "/".to_owned() }
    }

    fn parse(scheme: Scheme, text: &str) -> Option<Self> {
        let url = Url::parse(text).ok().filter(|_| text.len() < MAX_URI_BYTES)?;
        let plain =
            url.username().is_empty() && url.password().is_none() && url.query().is_none() && url.fragment().is_none();
        let mut path = url.path().to_owned();
        if !path.ends_with('/') {
            path.push('/');
        }
        let host = url.host().filter(|_| plain && !climbs(&path))?.to_owned();
        Some(Self { scheme, host: Some(host), port: url.port_or_known_default(), path })
    }

    pub(super) fn uri_prefix(&self) -> String {
        let (name, usual) = if self.scheme == Scheme::Https { ("https", 443) } else { ("http", 80) };
        match (&self.host, self.port.filter(|port| *port != usual)) {
            (None, _) => format!("{name}://"),
            (Some(host), Some(port)) => format!("{name}://{host}:{port}{}", self.path),
            (Some(host), None) => format!("{name}://{host}{}", self.path),
        }
    }

    /// True if it is there. Where only part of a site is allowed, no path is that some server might lead out of it.
    pub(super) fn covers(&self, url: &Url) -> bool {
        let scheme = match url.scheme() {
            "https" => Scheme::Https,
            "http" => Scheme::Http,
            _ => return false,
        };
        let same_host = match &self.host {
            None => true,
            Some(host) => url.host() == Some(borrowed(host)) && url.port_or_known_default() == self.port,
        };
        let below = self.path == "/" || (url.path().starts_with(&self.path) && !climbs(url.path()));
        scheme == self.scheme && same_host && below
    }
}

fn borrowed(host: &Host<String>) -> Host<&str> {
    match host {
        Host::Domain(name) => Host::Domain(name),
        Host::Ipv4(address) => Host::Ipv4(*address),
        Host::Ipv6(address) => Host::Ipv6(*address),
    }
}

/// True if a path has `..` in it for a server that decodes before it looks, once or twice.
fn climbs(path: &str) -> bool {
    let mut path = path.as_bytes().to_vec();
    for _ in 0..3 {
        if path
            .split(|byte| matches!(byte, b'/' | b'\\'))
            .any(|name| name.split(|byte| *byte == b';').next() == Some(b".."))
        {
            return true;
        }
        path = percent_encoding::percent_decode(&path).collect();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<AllowedSource, SourcesError> {
        AllowedSource::parse(OsStr::new(text))
    }

    fn site(text: &str) -> SiteRoot {
        match parse(text).unwrap() {
            AllowedSource::Site(root) => root,
            other => panic!("{other:?}"),
        }
    }

    fn bucket(text: &str) -> BucketRoot {
        match parse(text).unwrap() {
            AllowedSource::Bucket(root) => root,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_place_is_known_by_its_scheme_and_announced_as_uris_are_compared() {
        assert_eq!(parse("/srv/a b").unwrap(), AllowedSource::Directory("/srv/a b".into()));
        assert_eq!(parse("file:///srv").unwrap(), AllowedSource::Directory("/srv".into()));
        for (text, prefix) in [
            ("s3://", "s3://"),
            ("s3://bucket", "s3://bucket/"),
            ("s3://bucket/", "s3://bucket/"),
            ("s3://bucket/a%20b", "s3://bucket/a%20b/"),
            ("s3://bucket/a/", "s3://bucket/a/"),
        ] {
            assert_eq!(bucket(text).uri_prefix(), prefix);
        }
        for (text, prefix) in [
            ("https://", "https://"),
            ("https://EXAMPLE.com", "https://example.com/"),
            ("https://example.com:443/a", "https://example.com/a/"),
            ("http://example.com:8080/", "http://example.com:8080/"),
            ("http://[::1]:8080", "http://[::1]:8080/"),
        ] {
            assert_eq!(site(text).uri_prefix(), prefix);
        }
    }

    #[test]
    fn what_names_no_place_is_refused_with_what_was_wanted() {
        for text in [
            "s3://b",
            "s3://bucket/a b",
            "s3://bucket/a?versionId=1",
            "https://user@example.com/",
            "https://example.com/?q",
            "https://example.com/#f",
            "https://example.com/..%2f/",
            "http://:80/",
            "file://host/x",
            "file:///a%20b",
        ] {
            assert!(parse(text).unwrap_err().to_string().contains("--allow-source"), "{text}");
        }
    }

    #[test]
    fn a_bucket_covers_keys_below_its_prefix() {
        let root = bucket("s3://bucket/a");
        for (name, key, covered) in [
            ("bucket", "a/b", true),
            ("bucket", "a/../c", true),
            ("bucket", "ab", false),
            ("bucket", "a", false),
            ("other", "a/b", false),
        ] {
            assert_eq!(root.covers(name, key.as_bytes()), covered, "{name} {key}");
        }
        assert!(bucket("s3://").covers("any", b"x"));
    }

    #[test]
    fn a_site_covers_its_host_and_port_and_what_is_below_its_path_however_that_is_written() {
        let root = site("https://example.com/pub");
        for (url, covered) in [
            ("https://example.com/pub/a", true),
            ("https://EXAMPLE.COM:443/pub/a?x=../y", true),
            ("https://example.com/pub", false),
            ("https://example.com/public", false),
            ("http://example.com/pub/a", false),
            ("https://example.com:8443/pub/a", false),
            ("https://example.com.evil.net/pub/a", false),
            ("https://example.com/pub/../secret", false),
            ("https://example.com/pub/%2e%2e/secret", false),
            ("https://example.com/pub/..%2fsecret", false),
            ("https://example.com/pub/%2e%2e%2fsecret", false),
            ("https://example.com/pub/..%5csecret", false),
            ("https://example.com/pub/..\\secret", false),
            ("https://example.com/pub/%252e%252e%252fsecret", false),
            ("https://example.com/pub/..;x=1/secret", false),
        ] {
            assert_eq!(root.covers(&Url::parse(url).unwrap()), covered, "{url}");
        }
        let every = site("http://");
        assert!(every.covers(&Url::parse("http://anything:81/a/..%2f").unwrap()));
        assert!(!every.covers(&Url::parse("https://anything/").unwrap()));
        assert!(!every.covers(&Url::parse("ftp://anything/").unwrap()));
    }
}
