//! What can be wrong with a store.

use std::{error::Error as _, io, path::PathBuf};

/// A store that cannot be used, as it is found out at start.
#[derive(Debug, thiserror::Error)]
pub enum PlaceError {
    /// The text names no place.
    #[error("--upload-store {text:?} names no store; wanted a directory, s3://BUCKET or s3://BUCKET/PREFIX/")]
    Form {
        /// As given.
        text: String,
    },
    /// The directory cannot be made or opened.
    #[error("--upload-store {path:?} cannot be used; name a directory that this process may write")]
    Directory {
        /// As given.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The settings of the bucket do not fit together.
    #[error("--upload-store: the settings of the S3 store cannot be used; look at --s3-endpoint and --s3-region")]
    Bucket(#[source] object_store::Error),
}

/// The store did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// There is no such object.
    #[error("there is no such object in the store of uploads")]
    NotFound,
    /// An object is not what was put there.
    #[error("the store of uploads holds something else than what was put there: {0}")]
    Damaged(&'static str),
    /// No answer in time, as whoever asked judges it.
    #[error("the store of uploads does not answer in time")]
    Silent,
    /// Anything else.
    #[error("the store of uploads failed to {what}")]
    Failed {
        /// What was asked.
        what: &'static str,
        /// What it said.
        #[source]
        source: object_store::Error,
    },
}

impl StoreError {
    pub(crate) fn of(what: &'static str) -> impl Fn(object_store::Error) -> Self {
        move |source| match source {
            object_store::Error::NotFound { .. } => Self::NotFound,
            source => Self::Failed { what, source },
        }
    }

    pub(crate) fn io(what: &'static str, error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::NotFound {
            return Self::NotFound;
        }
        Self::Failed { what, source: object_store::Error::Generic { store: "directory", source: error.into() } }
    }

    /// In a few words for clients: nothing of what a server said, no path.
    #[must_use]
    pub fn in_short(&self) -> &'static str {
        let source = match self {
            Self::Failed { source, .. } => source,
            Self::Silent => return "it does not answer in time",
            Self::NotFound | Self::Damaged(_) => return "it lost what was put there",
        };
        if matches!(source, object_store::Error::PermissionDenied { .. } | object_store::Error::Unauthenticated { .. })
        {
            return "the mesh may not write there";
        }
        let mut cause = source.source();
        while let Some(error) = cause {
            if let Some(error) = error.downcast_ref::<io::Error>() {
                match error.kind() {
                    io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
                        return "it is full";
                    }
                    io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied => {
                        return "the mesh may not write there";
                    }
                    _ => {}
                }
            }
            cause = error.source();
        }
        "it does not answer as it should"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_store_is_told_from_one_that_is_away() {
        for (kind, wanted) in [
            (io::ErrorKind::StorageFull, "it is full"),
            (io::ErrorKind::QuotaExceeded, "it is full"),
            (io::ErrorKind::PermissionDenied, "the mesh may not write there"),
            (io::ErrorKind::ReadOnlyFilesystem, "the mesh may not write there"),
            (io::ErrorKind::ConnectionRefused, "it does not answer as it should"),
        ] {
            assert_eq!(StoreError::io("put", kind.into()).in_short(), wanted);
        }
        assert!(matches!(StoreError::io("put", io::ErrorKind::NotFound.into()), StoreError::NotFound));
    }
}
