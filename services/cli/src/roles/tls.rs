//! The certificate of a process, and whose it believes.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Args;
use hashmesh_runtime::tls::{Role, Tls, TlsFiles};

/// TLS. `hashmesh certs` makes the files.
#[derive(Args, Clone, Debug)]
pub(crate) struct TlsArgs {
    /// Its certificate (PEM); read again when it changes, as the other two are. Without one it speaks plain text.
    #[arg(long, value_name = "FILE")]
    tls_cert: Option<PathBuf>,
    /// The certificate's private key (PEM).
    #[arg(long, value_name = "FILE")]
    tls_key: Option<PathBuf>,
    /// The authorities (PEM) whose certificates it believes: of other services, and of clients.
    #[arg(long, value_name = "FILE")]
    tls_ca: Option<PathBuf>,
}

impl TlsArgs {
    /// Where its clients find the authority of its certificate.
    pub(crate) fn authority(&self) -> Option<&Path> {
        self.tls_ca.as_deref()
    }

    /// What the files hold, for a process of this role. `None`: plain text.
    pub(crate) async fn open(&self, role: Role) -> Result<Option<Tls>> {
        let (certificate, key) = match (self.tls_cert.clone(), self.tls_key.clone()) {
            (Some(certificate), Some(key)) => (certificate, key),
            // A client's setting, which may come from the environment, is no wish of the server.
            (None, None) => return Ok(None),
            (Some(_), None) => bail!("--tls-cert needs --tls-key, the file with the certificate's private key"),
            (None, Some(_)) => bail!("--tls-key needs --tls-cert, the file with the key's certificate"),
        };
        let files = TlsFiles { certificate, key, ca: self.tls_ca.clone() };
        Tls::open(files, role).await.map(Some).context("cannot speak TLS")
    }
}
