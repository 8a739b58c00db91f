//! Places that stand for many objects: what an `Expansion` names.

use url::Url;

use super::{Scheme, check_uri, file, file_path, file_uri, path_names, percent, s3_object, s3_uri};

/// What stands before the URI of a list.
const LIST: &str = "list:";

/// A place that workers list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// Every file below a directory: its absolute path, with `/` at its end.
    Directory(Vec<u8>),
    /// Every object of a bucket whose key begins with the prefix.
    Prefix {
        /// The bucket.
        bucket: String,
        /// May be empty.
        prefix: Vec<u8>,
    },
    /// The objects that a text names, a URI on each line: the text's own URI, in its one form.
    List(String),
}

impl Place {
    /// The place that a URI names.
    ///
    /// # Errors
    /// What is wanted instead, to be read behind the URI's name.
    pub fn of(uri: &[u8]) -> Result<Self, String> {
        if let Some(text) = uri.strip_prefix(LIST.as_bytes()) {
            return list(text).map(Self::List);
        }
        match Scheme::split(uri) {
            Some((Scheme::File, path)) => {
                file::check(path)?;
                directory(&file_path(uri).unwrap_or_default())
            }
            Some((Scheme::S3, rest)) => prefix(rest),
            Some((Scheme::Http | Scheme::Https, _)) => {
                Err("must begin with `s3://` or `file:///`, or be `list:URI`: web servers cannot be listed".to_owned())
            }
            Some((Scheme::Upload, _)) | None => {
                Err("must begin with `s3://` or `file:///`, or be `list:URI`".to_owned())
            }
        }
    }

    /// Its URI as workers compare it with what they may read.
    #[must_use]
    pub fn uri(&self) -> String {
        match self {
            Self::Directory(path) => file_uri(path),
            Self::Prefix { bucket, prefix } => s3_uri(bucket, prefix),
            Self::List(text) => format!("{LIST}{text}"),
        }
    }

    /// What a worker must be allowed to read to list the place with this URI: everything that begins so.
    #[must_use]
    pub fn to_read(uri: &str) -> &str {
        uri.strip_prefix(LIST).unwrap_or(uri)
    }
}

/// The one form of the URI of a text.
fn list(uri: &[u8]) -> Result<String, String> {
    let behind = |wanted: String| format!("{wanted} (behind `{LIST}`)");
    if Scheme::of(uri) == Some(Scheme::Upload) {
        return Err("must be of a text that is no upload: those are not read as lists".to_owned());
    }
    check_uri(uri).map_err(behind)?;
    let wanted = || behind("must be the URI of a text".to_owned());
    match Scheme::of(uri) {
        Some(Scheme::File) => match directory(&file_path(uri).unwrap_or_default()).map_err(behind)? {
            Place::Directory(path) if !uri.ends_with(b"/") => Ok(file_uri(&path[..path.len() - 1])),
            _ => Err(wanted()),
        },
        Some(Scheme::S3) => {
            let object = s3_object(uri).ok_or_else(wanted)?;
            let mut text = s3_uri(&object.bucket, &object.key);
            if let Some(version) = object.version {
                text.push_str("?versionId=");
                percent::encode(version.as_bytes(), &mut text);
            }
            Ok(text)
        }
        _ => std::str::from_utf8(uri).ok().and_then(|uri| Url::parse(uri).ok()).map(Into::into).ok_or_else(wanted),
    }
}

fn directory(path: &[u8]) -> Result<Place, String> {
    let mut plain = Vec::with_capacity(path.len() + 1);
    plain.push(b'/');
    for name in path_names(path) {
        if name == b".." {
            return Err("must not contain `..`: what it means depends on symbolic links".to_owned());
        }
        plain.extend_from_slice(name);
        plain.push(b'/');
    }
    Ok(Place::Directory(plain))
}

fn prefix(rest: &[u8]) -> Result<Place, String> {
    let slash = rest.iter().position(|byte| *byte == b'/').unwrap_or(rest.len());
    let (bucket, prefix) = (&rest[..slash], rest.get(slash + 1..).unwrap_or_default());
    let bucket = super::s3::bucket(bucket)?;
    percent::check_path(prefix, |_| Ok(()))?;
    let prefix = percent::decode(prefix).ok_or("must be percent-encoded")?;
    if prefix.len() > super::s3::MAX_KEY_BYTES {
        return Err(format!(
            "names a prefix of {} bytes; keys have {} at most",
            prefix.len(),
            super::s3::MAX_KEY_BYTES
        ));
    }
    Ok(Place::Prefix { bucket: bucket.to_owned(), prefix })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_a_directory_or_the_beginning_of_keys_in_one_form() {
        for (uri, canonical) in [
            ("s3://bucket", "s3://bucket/"),
            ("s3://bucket/", "s3://bucket/"),
            ("s3://bucket/a+b/", "s3://bucket/a%2Bb/"),
            ("s3://bucket/a//../b", "s3://bucket/a//../b"),
            ("s3://bucket/logs-2", "s3://bucket/logs-2"),
            ("file:///", "file:///"),
            ("file:///srv", "file:///srv/"),
            ("file:///srv//./a%20b/", "file:///srv/a%20b/"),
            ("file:///s%72v/", "file:///srv/"),
        ] {
            let place = Place::of(uri.as_bytes()).unwrap();
            assert_eq!(place.uri(), canonical, "{uri}");
            assert_eq!(Place::of(canonical.as_bytes()), Ok(place));
        }
        let longest = format!("s3://bucket/{}", "k".repeat(1_024));
        assert!(Place::of(longest.as_bytes()).is_ok());
    }

    #[test]
    fn a_list_is_named_by_the_uri_of_its_text_in_one_form() {
        for (uri, canonical, to_read) in [
            ("list:s3://bucket/a+b.txt", "list:s3://bucket/a%2Bb.txt", "s3://bucket/a%2Bb.txt"),
            ("list:s3://bucket/a?versionId=3%2F", "list:s3://bucket/a?versionId=3/", "s3://bucket/a?versionId=3/"),
            ("list:file:///srv//./a%20b", "list:file:///srv/a%20b", "file:///srv/a%20b"),
            ("list:https://EXAMPLE.com:443/a/../b?c", "list:https://example.com/b?c", "https://example.com/b?c"),
        ] {
            let place = Place::of(uri.as_bytes()).unwrap();
            assert_eq!((place.uri().as_str(), Place::to_read(&place.uri())), (canonical, to_read), "{uri}");
            assert_eq!(Place::of(canonical.as_bytes()), Ok(place));
        }
        assert_eq!(Place::to_read("s3://bucket/"), "s3://bucket/");
    }

    #[test]
    fn what_cannot_be_listed_is_refused_with_the_remedy() {
        for (uri, wanted) in [
            ("list:", "behind `list:`"),
            ("list:list:s3://bucket/a", "must begin with"),
            ("list:/srv/list", "must begin with"),
            ("list:file:///srv/", "URI of a text"),
            ("list:file:///srv/../list", "must not contain `..`"),
            ("list:s3://bucket/", "must name a key"),
            ("list:https://user@host/list", "no user name"),
            ("list:upload://t/0123456789abcdef0123456789abcdef", "no upload"),
            ("https://host/dir/", "cannot be listed"),
            ("http://host/", "cannot be listed"),
            ("ftp://host/", "must begin with `s3://` or `file:///`"),
            ("", "must begin with"),
            ("file://host/x/", "without a host"),
            ("file:///srv/../etc/", "must not contain `..`"),
            ("file:///srv/%2e%2e/", "must not contain `..`"),
            ("file:///a b/", "%20"),
            ("s3://", "names no bucket"),
            ("s3:///prefix", "names no bucket"),
            ("s3://-x/", "names no bucket"),
            ("s3://bucket/a?versionId=3", "%3F"),
            ("s3://bucket/a b", "%20"),
        ] {
            let error = Place::of(uri.as_bytes()).unwrap_err();
            assert!(error.contains(wanted), "{uri}: {error}");
        }
        let long = format!("s3://bucket/{}", "k".repeat(1_025));
        assert!(Place::of(long.as_bytes()).unwrap_err().contains("1024 at most"));
    }
}
