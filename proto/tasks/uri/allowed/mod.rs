//! What may be read: a directory, a bucket or part of one, a web site or part of one. Workers are started with such places
//! (`--allow-source`), and tenants are allowed them.

mod roots;

use std::{
    ffi::{OsStr, OsString},
    fmt,
    os::unix::ffi::{OsStrExt as _, OsStringExt as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use url::Url;

pub use self::roots::{BucketRoot, SiteRoot};
use super::{Place, Scheme, file_path, file_uri, path_names, s3_object};
use crate::v1::TenantSources;

/// What names no place to read from.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} names no place to read from; wanted {wanted}")]
pub struct NoSource {
    /// As given.
    pub text: String,
    /// What could have been.
    pub wanted: &'static str,
}

/// A place that may be read from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AllowedSource {
    /// `file:` URIs below this directory.
    Directory(PathBuf),
    /// `s3:` URIs of a bucket.
    Bucket(BucketRoot),
    /// `http:` or `https:` URIs of a host.
    Site(SiteRoot),
}

impl AllowedSource {
    /// Reads what a worker was given: a URI of a scheme that is known, else a path.
    ///
    /// # Errors
    /// A URI that names no such place.
    pub fn parse(text: &OsStr) -> Result<Self, NoSource> {
        let wrong = |wanted| NoSource { text: text.to_string_lossy().into_owned(), wanted };
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

    /// Reads what a tenant is given: a URI, everything below which it may name.
    ///
    /// # Errors
    /// As [`AllowedSource::parse`], and for a path.
    pub fn of_uri(uri: &str) -> Result<Self, NoSource> {
        let wrong = |wanted| NoSource { text: uri.to_owned(), wanted };
        match Scheme::of(uri.as_bytes()) {
            None => Err(wrong(URI)),
            Some(Scheme::File) => match Place::of(uri.as_bytes()) {
                Ok(Place::Directory(path)) => Ok(Self::Directory(OsString::from_vec(path).into())),
                _ => Err(wrong(DIRECTORY)),
            },
            Some(Scheme::Upload) => Err(wrong("no uploads: each tenant has its own, and no others")),
            Some(_) => Self::parse(OsStr::new(uri)),
        }
    }

    /// What every URI below it begins with, if it is written as workers announce it.
    #[must_use]
    pub fn uri_prefix(&self) -> String {
        match self {
            Self::Directory(path) => {
                let mut uri = file_uri(path.as_os_str().as_bytes());
                if !uri.ends_with('/') {
                    uri.push('/');
                }
                uri
            }
            Self::Bucket(root) => root.uri_prefix(),
            Self::Site(root) => root.uri_prefix(),
        }
    }

    /// True if the object that a task names is there, however its URI is written. A file's name is not followed: what it leads
    /// to by symbolic links is for whoever opens it.
    #[must_use]
    pub fn covers(&self, uri: &[u8]) -> bool {
        match (self, Scheme::of(uri)) {
            (Self::Directory(root), Some(Scheme::File)) => {
                file_path(uri).is_some_and(|path| below(root, &path).is_some())
            }
            (Self::Bucket(root), Some(Scheme::S3)) => {
                s3_object(uri).is_some_and(|object| root.covers(&object.bucket, &object.key))
            }
            (Self::Site(root), Some(Scheme::Http | Scheme::Https)) => {
                std::str::from_utf8(uri).ok().and_then(|uri| Url::parse(uri).ok()).is_some_and(|url| root.covers(&url))
            }
            _ => false,
        }
    }

    /// True if everything is there that the place stands for.
    #[must_use]
    pub fn covers_place(&self, place: &Place) -> bool {
        match (self, place) {
            (Self::Directory(root), Place::Directory(path)) => below(root, path).is_some(),
            (Self::Bucket(root), Place::Prefix { bucket, prefix }) => root.covers(bucket, prefix),
            // What it names is for the tasks that come of it.
            (source, Place::List(text)) => source.covers(text.as_bytes()),
            _ => false,
        }
    }
}

/// How many names lie before a path that is `root` or below it. One with `..` is nowhere.
fn below(root: &Path, path: &[u8]) -> Option<usize> {
    let (mut ours, mut count) = (path_names(root.as_os_str().as_bytes()), 0);
    let mut others = path_names(path);
    for name in ours.by_ref() {
        if others.next() != Some(name) {
            return None;
        }
        count += 1;
    }
    (!others.any(|name| name == b"..")).then_some(count)
}

/// What a tenant may name: what is below any of these places. Clones share it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllowedSources(Arc<[AllowedSource]>);

impl AllowedSources {
    /// As it is sent. A place that this program cannot read, a newer one's perhaps, allows nothing.
    #[must_use]
    pub fn of(sources: &TenantSources) -> Self {
        Self(sources.uri_prefixes.iter().filter_map(|prefix| AllowedSource::of_uri(prefix).ok()).collect())
    }

    /// As it is sent.
    #[must_use]
    pub fn to_sources(&self) -> TenantSources {
        TenantSources { uri_prefixes: self.0.iter().map(AllowedSource::uri_prefix).collect() }
    }

    /// True if the object that a task names is below one of them.
    #[must_use]
    pub fn cover(&self, uri: &[u8]) -> bool {
        self.0.iter().any(|source| source.covers(uri))
    }

    /// True if all of a place is below one of them.
    #[must_use]
    pub fn cover_place(&self, place: &Place) -> bool {
        self.0.iter().any(|source| source.covers_place(place))
    }

    /// Of the directories that a path lies below: how many names the longest has.
    #[must_use]
    pub fn directory_above(&self, path: &[u8]) -> Option<usize> {
        let names = |source: &AllowedSource| match source {
            AllowedSource::Directory(root) => below(root, path),
            AllowedSource::Bucket(_) | AllowedSource::Site(_) => None,
        };
        self.0.iter().filter_map(names).max()
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
    type Error = NoSource;

    fn try_from(text: OsString) -> Result<Self, NoSource> {
        Self::parse(&text)
    }
}

const URI: &str = "a URI that begins with `file:///`, `s3://`, `https://` or `http://`";
const DIRECTORY: &str = "file:///DIRECTORY/, percent-encoded, without `..`";
const BUCKET: &str = "s3://BUCKET, s3://BUCKET/PREFIX/, or s3:// for every bucket";
const SITE: &str =
    "https://HOST, https://HOST/PATH/, or https:// for every public host, with no user, query or fragment";

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<AllowedSource, NoSource> {
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

    fn allowed(uris: &[&str]) -> AllowedSources {
        AllowedSources::of(&TenantSources { uri_prefixes: uris.iter().map(|uri| (*uri).to_owned()).collect() })
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
            assert!(parse(text).unwrap_err().to_string().contains("names no place"), "{text}");
        }
    }

    #[test]
    fn what_a_tenant_is_given_is_written_in_one_way_and_read_back_the_same() {
        for (text, prefix) in [
            ("file:///srv/a%20b", "file:///srv/a%20b/"),
            ("file:///s%72v//./x/", "file:///srv/x/"),
            ("file:///", "file:///"),
            ("s3://bucket/a", "s3://bucket/a/"),
            ("s3://", "s3://"),
            ("https://EXAMPLE.com:443", "https://example.com/"),
            ("http://", "http://"),
        ] {
            let source = AllowedSource::of_uri(text).unwrap();
            assert_eq!(source.uri_prefix(), prefix);
            assert_eq!(AllowedSource::of_uri(prefix).unwrap().uri_prefix(), prefix);
        }
        for text in ["/srv", "srv", "", "file:///a/../b", "file://host/x", "file:///a b", "upload://a/", "ftp://x/"] {
            assert!(AllowedSource::of_uri(text).is_err(), "{text}");
        }
    }

    #[test]
    fn promise_10_a_tenant_may_name_what_is_below_its_places_however_that_is_written_and_nothing_beside() {
        let allowed = allowed(&["file:///srv/a/", "s3://bucket/a/", "https://example.com/pub/", "no place"]);
        for (uri, covered) in [
            ("file:///srv/a/x", true),
            ("file:///srv//./a/x", true),
            ("file:///%73rv/a/x/y", true),
            ("file:///srv/ab", false),
            ("file:///srv/x", false),
            ("file:///srv/a/../x", false),
            ("file:///srv/a/%2e%2e/x", false),
            ("file:///", false),
            ("s3://bucket/a/x", true),
            ("s3://bucket/%61/x?versionId=1", true),
            ("s3://bucket/ab", false),
            ("s3://other/a/x", false),
            ("https://Example.com:443/pub/x", true),
            ("https://example.com/pub/../x", false),
            ("https://example.com/", false),
            ("http://example.com/pub/x", false),
            ("upload://a/0123456789abcdef0123456789abcdef", false),
            ("no place/x", false),
            ("", false),
        ] {
            assert_eq!(allowed.cover(uri.as_bytes()), covered, "{uri}");
        }
        for (uri, covered) in [
            ("file:///srv/a", true),
            ("file:///srv/a/b/", true),
            ("file:///srv/", false),
            ("s3://bucket/a/", true),
            ("s3://bucket/a/b", true),
            ("s3://bucket/a", false),
            ("s3://bucket", false),
            ("list:s3://bucket/a/list", true),
            ("list:s3://bucket/list", false),
            ("list:file:///srv/a/list", true),
            ("list:https://example.com/list", false),
        ] {
            assert_eq!(allowed.cover_place(&Place::of(uri.as_bytes()).unwrap()), covered, "{uri}");
        }
        assert!(!self::allowed(&[]).cover(b"file:///srv/a/x"));
    }

    #[test]
    fn of_the_directories_above_a_path_the_nearest_counts() {
        let allowed = allowed(&["file:///srv/", "file:///srv/a/b/", "s3://"]);
        for (path, names) in [("/srv/a/b/c", Some(3)), ("/srv/a/b", Some(3)), ("/srv/a/x", Some(1)), ("/x", None)] {
            assert_eq!(allowed.directory_above(path.as_bytes()), names, "{path}");
        }
        assert_eq!(self::allowed(&["file:///"]).directory_above(b"/x"), Some(0));
    }
}
