//! TLS between everybody: certificates that are read again when their files change, and who is who by them.
//!
//! [`Tls`] holds what was read last. Servers and channels ask it at each new connection, so that a renewed certificate and
//! a changed authority hold from then on, without a restart; connections that are open go on. What a caller may do is
//! looked up in one table ([`methods`]) before a byte of its call's body is read.

mod authorize;
mod connector;
mod error;
mod expiry;
mod identity;
mod look;
mod material;
mod methods;
#[cfg(test)]
pub(crate) mod test_authority;
#[cfg(test)]
mod tests;
mod verifier;

use std::{fmt, sync::Arc, time::Duration};

use rustls::{ClientConfig, ServerConfig};
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use self::material::{Contents, Material};
pub(crate) use self::{authorize::Authorize, connector::Connector};
pub use self::{
    error::TlsError,
    identity::{Identity, Role, ServiceId},
    look::{Certificate, LookError, look},
    material::TlsFiles,
};
use crate::{metrics::Watch, tasks, telemetry};

/// How often the files are looked at: three small reads. A certificate is renewed days before it expires.
const LOOK_AGAIN_AFTER: Duration = Duration::from_secs(2);

/// A process' certificate, key and authorities, as they are now. Clones share them.
#[derive(Clone)]
pub struct Tls {
    shared: Arc<Shared>,
}

struct Shared {
    role: Role,
    /// Does not change while the process runs.
    trust_domain: Option<Arc<str>>,
    current: watch::Receiver<Arc<Material>>,
    _watches: Vec<Watch>,
    /// Ends with the last clone.
    _reload: AbortOnDropHandle<()>,
}

impl Tls {
    /// Reads the files of a process of this role, and from then on whenever they change. Must be called within a runtime.
    ///
    /// # Errors
    /// [`TlsError`], if they make no certificate that others would believe. Later that is logged, and what was there is
    /// kept.
    pub async fn open(files: TlsFiles, role: Role) -> Result<Self, TlsError> {
        Self::open_looking(files, role, LOOK_AGAIN_AFTER).await
    }

    async fn open_looking(files: TlsFiles, role: Role, every: Duration) -> Result<Self, TlsError> {
        let contents = read(&files).await?;
        let material = Material::new(&files, &contents, role, None)?;
        let trust_domain = material.identity.service().map(|service| Arc::clone(&service.trust_domain));
        tracing::info!(
            certificate = %files.certificate.display(),
            identity = %material.identity,
            authority = files.ca.as_ref().map(|path| tracing::field::display(path.display())),
            "TLS"
        );
        let (replace, current) = watch::channel(Arc::new(material));
        let watches = expiry::watch(&current);
        let reload = Reload { files, role, trust_domain: trust_domain.clone(), every, replace };
        let reload = tasks::spawn_owned("certificates", reload.run(contents));
        Ok(Self { shared: Arc::new(Shared { role, trust_domain, current, _watches: watches, _reload: reload }) })
    }

    /// For a connection that comes now.
    pub(crate) fn server(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.shared.current.borrow().server)
    }

    /// For a connection that is made now, to a service of this role.
    pub(crate) fn client(&self, service: Role) -> Option<Arc<ClientConfig>> {
        self.shared.current.borrow().client(service)
    }

    /// True if callers must show a certificate.
    #[must_use]
    pub fn mutual(&self) -> bool {
        self.shared.role != Role::Gateway
    }

    /// The trust domain whose services are ours.
    pub(crate) fn trust_domain(&self) -> Option<&Arc<str>> {
        self.shared.trust_domain.as_ref()
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Nothing of what it holds.
        f.debug_struct("Tls").field("role", &self.shared.role).finish_non_exhaustive()
    }
}

async fn read(files: &TlsFiles) -> Result<Contents, TlsError> {
    let of = files.clone();
    let reading = tokio::task::spawn_blocking(move || of.read()).await;
    reading.unwrap_or_else(|error| {
        Err(TlsError::Read { path: files.certificate.clone(), source: std::io::Error::other(error) })
    })
}

/// Looks at the files now and then, and replaces what follows from them.
struct Reload {
    files: TlsFiles,
    role: Role,
    trust_domain: Option<Arc<str>>,
    every: Duration,
    replace: watch::Sender<Arc<Material>>,
}

impl Reload {
    /// `seen` is what was read last. Ends never.
    async fn run(self, mut seen: Contents) {
        // What was seen last is in use.
        let mut used = true;
        let mut unreadable = false;
        loop {
            tokio::time::sleep(self.every).await;
            let contents = match read(&self.files).await {
                Ok(contents) => contents,
                Err(error) => {
                    // Once, not every few seconds.
                    if !std::mem::replace(&mut unreadable, true) {
                        self.complain(&error);
                    }
                    continue;
                }
            };
            unreadable = false;
            let changed = contents != seen;
            // What was of no use may become valid with time.
            if !changed && used {
                continue;
            }
            seen = contents;
            match Material::new(&self.files, &seen, self.role, self.trust_domain.as_deref()) {
                Ok(material) => {
                    tracing::info!(identity = %material.identity, "new certificates, for new connections");
                    self.replace.send_replace(Arc::new(material));
                    used = true;
                }
                Err(error) => {
                    used = false;
                    if changed {
                        self.complain(&error);
                    }
                }
            }
        }
    }

    fn complain(&self, error: &TlsError) {
        let error = telemetry::chain(error);
        tracing::error!(error, "the certificate files changed and are not usable; what was read before is kept");
    }
}
