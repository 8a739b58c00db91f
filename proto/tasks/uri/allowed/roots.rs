//! Parts of buckets and of web sites.

use url::{Host, Url};

use crate::{
    limits::MAX_URI_BYTES,
    tasks::{Scheme, s3_object, s3_uri},
};

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

impl BucketRoot {
    pub(super) fn parse(rest: &[u8]) -> Option<Self> {
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

    /// What every URI below it begins with.
    #[must_use]
    pub fn uri_prefix(&self) -> String {
        self.bucket.as_ref().map_or_else(|| "s3://".to_owned(), |bucket| s3_uri(bucket, &self.prefix))
    }

    /// True if the key is below it.
    #[must_use]
    pub fn covers(&self, bucket: &str, key: &[u8]) -> bool {
        self.bucket.as_deref().is_none_or(|ours| ours == bucket) && key.starts_with(&self.prefix)
    }
}

impl SiteRoot {
    pub(super) fn every(scheme: Scheme) -> Self {
        Self { scheme, host: None, port: None, path: "/".to_owned() }
    }

    pub(super) fn parse(scheme: Scheme, text: &str) -> Option<Self> {
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

    /// What every URI below it begins with.
    #[must_use]
    pub fn uri_prefix(&self) -> String {
        let (name, usual) = if self.scheme == Scheme::Https { ("https", 443) } else { ("http", 80) };
        match (&self.host, self.port.filter(|port| *port != usual)) {
            (None, _) => format!("{name}://"),
            (Some(host), Some(port)) => format!("{name}://{host}:{port}{}", self.path),
            (Some(host), None) => format!("{name}://{host}{}", self.path),
        }
    }

    /// True if it is there. Where only part of a site is allowed, no path is that some server might lead out of it.
    #[must_use]
    pub fn covers(&self, url: &Url) -> bool {
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

    fn bucket(rest: &str) -> BucketRoot {
        BucketRoot::parse(rest.as_bytes()).unwrap()
    }

    #[test]
    fn a_bucket_covers_keys_below_its_prefix() {
        let root = bucket("bucket/a");
        for (name, key, covered) in [
            ("bucket", "a/b", true),
            ("bucket", "a/../c", true),
            ("bucket", "ab", false),
            ("bucket", "a", false),
            ("other", "a/b", false),
        ] {
            assert_eq!(root.covers(name, key.as_bytes()), covered, "{name} {key}");
        }
        assert!(bucket("").covers("any", b"x"));
    }

    #[test]
    fn a_site_covers_its_host_and_port_and_what_is_below_its_path_however_that_is_written() {
        let root = SiteRoot::parse(Scheme::Https, "https://example.com/pub").unwrap();
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
        let every = SiteRoot::every(Scheme::Http);
        assert!(every.covers(&Url::parse("http://anything:81/a/..%2f").unwrap()));
        assert!(!every.covers(&Url::parse("https://anything/").unwrap()));
        assert!(!every.covers(&Url::parse("ftp://anything/").unwrap()));
    }
}
