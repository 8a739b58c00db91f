//! Places that stand for many objects: what an `Expansion` names.

use super::{Scheme, file, file_path, file_uri, percent, s3_uri};

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
}

impl Place {
    /// The place that a URI names.
    ///
    /// # Errors
    /// What is wanted instead, to be read behind the URI's name.
    pub fn of(uri: &[u8]) -> Result<Self, String> {
        match Scheme::split(uri) {
            Some((Scheme::File, path)) => {
                file::check(path)?;
                directory(&file_path(uri).unwrap_or_default())
            }
            Some((Scheme::S3, rest)) => prefix(rest),
            Some((Scheme::Http | Scheme::Https, _)) => {
                Err("must begin with `s3://` or `file:///`: web servers cannot be listed".to_owned())
            }
            Some((Scheme::Upload, _)) | None => Err("must begin with `s3://` or `file:///`".to_owned()),
        }
    }

    /// Its URI as workers compare it with what they may read.
    #[must_use]
    pub fn uri(&self) -> String {
        match self {
            Self::Directory(path) => file_uri(path),
            Self::Prefix { bucket, prefix } => s3_uri(bucket, prefix),
        }
    }
}

fn directory(path: &[u8]) -> Result<Place, String> {
    let mut plain = Vec::with_capacity(path.len() + 1);
    plain.push(b'/');
    for name in path.split(|byte| *byte == b'/').filter(|name| !name.is_empty() && *name != b".") {
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
    fn what_cannot_be_listed_is_refused_with_the_remedy() {
        for (uri, wanted) in [
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
