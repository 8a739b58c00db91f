//! Why certificates are not usable. Never with a word of what is in a key's file.

use std::path::PathBuf;

use super::identity::{Identity, Role};

/// Files that do not make a certificate that others would believe.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("cannot read {path}", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// A file is larger than any certificate.
    #[error("{path} has more than {limit} bytes: it holds no certificate or key", path = path.display())]
    Size {
        /// The file.
        path: PathBuf,
        /// Bytes allowed.
        limit: u64,
    },
    /// A file holds something else.
    #[error("wanted {wanted} in {path}, as PEM, found none", path = path.display())]
    Missing {
        /// `a certificate`, `a private key`.
        wanted: &'static str,
        /// The file.
        path: PathBuf,
    },
    /// A certificate that rustls does not take.
    #[error("cannot use the certificate in {path}", path = path.display())]
    Certificate {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: rustls::Error,
    },
    /// A key that does not belong to the certificate, or of a kind that is not known.
    #[error("the key in {key} is of no use with the certificate in {certificate}", key = key.display(), certificate = certificate.display())]
    Key {
        /// The key's file.
        key: PathBuf,
        /// The certificate's file.
        certificate: PathBuf,
        /// Why not.
        source: rustls::Error,
    },
    /// The authorities cannot be used.
    #[error("cannot use the authority in {path}: {problem}", path = path.display())]
    Authority {
        /// The file.
        path: PathBuf,
        /// Why not.
        problem: String,
    },
    /// Others would not believe the certificate: expired, or of another authority.
    #[error("the certificate in {certificate} is not accepted under the authority in {ca}", certificate = certificate.display(), ca = ca.display())]
    NotAccepted {
        /// The certificate's file.
        certificate: PathBuf,
        /// The authority's file.
        ca: PathBuf,
        /// Why not.
        source: rustls::Error,
    },
    /// A certificate of another service, or of none.
    #[error(
        "wanted a certificate with the one URI spiffe://TRUST_DOMAIN/hashmesh/{role} in {path}, found {found}; \
         `hashmesh certs` makes such", path = path.display()
    )]
    Role {
        /// The role of this process.
        role: Role,
        /// The file.
        path: PathBuf,
        /// What it holds.
        found: Identity,
    },
    /// A process cannot move to another trust domain while it runs.
    #[error("wanted a certificate of the trust domain {wanted}, as before, found {found}; start the process anew")]
    TrustDomain {
        /// That of the certificate before.
        wanted: String,
        /// What the new one has.
        found: Identity,
    },
    /// A service behind the Gateway without an authority could not tell who calls.
    #[error("the {role} wants certificates of its callers: name the authority they are of with --tls-ca")]
    NoAuthority {
        /// The role of this process.
        role: Role,
    },
    /// The TLS library failed.
    #[error("cannot prepare TLS")]
    Library(#[from] rustls::Error),
}
