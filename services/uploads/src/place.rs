//! What `--upload-store` says.

use std::{
    ffi::{OsStr, OsString},
    fmt,
    os::unix::ffi::OsStrExt as _,
    path::PathBuf,
};

use hashmesh::tasks::{Scheme, s3_object};

use crate::PlaceError;

/// Where uploads are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UploadPlace {
    /// A directory, on one machine or on a share that all of them have.
    Directory(PathBuf),
    /// A bucket of an S3-compatible store.
    Bucket {
        /// Its name.
        bucket: String,
        /// What all keys begin with, without `/` at either end.
        prefix: String,
    },
}

/// How an S3-compatible store is reached.
#[derive(Clone, Default)]
pub struct S3Access {
    /// `https://HOST[:PORT]`; `None`: Amazon's own, of the region.
    pub endpoint: Option<String>,
    /// For example `eu-central-1`.
    pub region: String,
    /// Access key id, secret and, perhaps, session token. `None`: requests are not signed.
    pub credentials: Option<(String, String, Option<String>)>,
}

impl fmt::Debug for S3Access {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let credentials = self.credentials.as_ref().map(|_| "…");
        formatter
            .debug_struct("S3Access")
            .field("endpoint", &self.endpoint)
            .field("region", &self.region)
            .field("credentials", &credentials)
            .finish()
    }
}

impl UploadPlace {
    /// Reads what was given: a directory, or `s3://BUCKET/PREFIX/`.
    ///
    /// # Errors
    /// [`PlaceError::Form`] for a URI that is no such place.
    pub fn parse(text: &OsStr) -> Result<Self, PlaceError> {
        let wrong = || PlaceError::Form { text: text.to_string_lossy().into_owned() };
        match Scheme::split(text.as_bytes()) {
            None if text.is_empty() || text.as_bytes().windows(3).any(|three| three == b"://") => Err(wrong()),
            None => Ok(Self::Directory(PathBuf::from(text))),
            Some((Scheme::S3, rest)) => bucket(rest).ok_or_else(wrong),
            Some(_) => Err(wrong()),
        }
    }
}

fn bucket(rest: &[u8]) -> Option<UploadPlace> {
    let rest = std::str::from_utf8(rest).ok()?;
    let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    let prefix = prefix.trim_end_matches('/');
    // Names that are the same in every client and every log.
    let plain = |name: &str| {
        !name.is_empty()
            && name != "."
            && name != ".."
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
    };
    let fits = prefix.is_empty() || (prefix.len() <= 512 && prefix.split('/').all(plain));
    let known = s3_object(format!("s3://{bucket}/x").as_bytes()).is_some();
    (fits && known).then(|| UploadPlace::Bucket { bucket: bucket.to_owned(), prefix: prefix.to_owned() })
}

impl fmt::Display for UploadPlace {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory(path) => path.display().fmt(formatter),
            Self::Bucket { bucket, prefix } if prefix.is_empty() => write!(formatter, "s3://{bucket}/"),
            Self::Bucket { bucket, prefix } => write!(formatter, "s3://{bucket}/{prefix}/"),
        }
    }
}

impl TryFrom<OsString> for UploadPlace {
    type Error = PlaceError;

    fn try_from(text: OsString) -> Result<Self, PlaceError> {
        Self::parse(&text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_a_directory_or_a_bucket() {
        let parse = |text: &str| UploadPlace::parse(OsStr::new(text)).unwrap();
        assert_eq!(parse("/srv/uploads"), UploadPlace::Directory("/srv/uploads".into()));
        for (text, shown) in [
            ("s3://bucket", "s3://bucket/"),
            ("s3://bucket/", "s3://bucket/"),
            ("s3://bucket/a/b", "s3://bucket/a/b/"),
            ("s3://bucket/a/b/", "s3://bucket/a/b/"),
        ] {
            assert_eq!(parse(text).to_string(), shown);
        }
    }

    #[test]
    fn what_is_neither_is_refused_with_what_was_wanted() {
        let wrong = [
            "",
            "s3://",
            "s3://b",
            "s3://bucket/a//b",
            "s3://bucket/../b",
            "s3://bucket/a b",
            "https://host/",
            "gs://b",
        ];
        for text in wrong {
            let error = UploadPlace::parse(OsStr::new(text)).unwrap_err();
            assert!(error.to_string().contains("wanted a directory"), "{text}");
        }
    }

    #[test]
    fn credentials_are_never_shown() {
        let credentials = Some(("AKIA".to_owned(), "secret".to_owned(), Some("token".to_owned())));
        let shown = format!("{:?}", S3Access { credentials, ..S3Access::default() });
        assert!(!shown.contains("secret") && !shown.contains("token") && !shown.contains("AKIA"), "{shown}");
    }
}
