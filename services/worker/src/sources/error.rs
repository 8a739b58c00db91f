//! What a worker cannot read from, as it is found out at start.

use std::{io, path::PathBuf};

use hashmesh::limits::MAX_URI_BYTES;

/// A source that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SourcesError {
    /// It does not exist, or cannot be opened.
    #[error("--allow-source {path:?} cannot be opened; name a directory that exists and is readable")]
    Open {
        /// The path as given.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// It is something else.
    #[error("--allow-source {path:?} is not a directory; name the directory that holds it")]
    NotADirectory {
        /// The path as given.
        path: PathBuf,
    },
    /// No URI below it could be named.
    #[error(
        "the URI of --allow-source {path:?} is longer than {MAX_URI_BYTES} bytes; name a directory with a shorter path"
    )]
    TooLong {
        /// The path as given.
        path: PathBuf,
    },
    /// No store's endpoint.
    #[error("--s3-endpoint {text:?} is none; wanted https://HOST[:PORT] without user, query and fragment")]
    Endpoint {
        /// As given.
        text: String,
    },
    /// No region.
    #[error("--s3-region {text:?} is none; wanted a name such as eu-central-1")]
    Region {
        /// As given.
        text: String,
    },
    /// The system has no certificates.
    #[error("no certificates of authorities to believe; install ca-certificates, or name a file by SSL_CERT_FILE")]
    Certificates(#[source] io::Error),
}
