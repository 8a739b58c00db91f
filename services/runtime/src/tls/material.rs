//! What is made of the three files: one configuration for those who connect, one for each service that is connected to.

use std::{
    fs,
    io::Read as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    client::Resumption,
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, PrivateKeyDer, UnixTime, pem::PemObject as _},
    server::{NoServerSessionStorage, WebPkiClientVerifier, danger::ClientCertVerifier},
    sign::{CertifiedKey, SingleCertAndKey},
};

use super::{
    error::TlsError,
    expiry::Expiry,
    identity::{Identity, Role},
    verifier::ServiceVerifier,
};

/// No certificate, key or bundle of authorities is larger.
const MAX_FILE_BYTES: u64 = 1024 * 1024;
/// HTTP/2, the only protocol that is spoken (RFC 7301).
pub(super) const ALPN: &[u8] = b"h2";

/// Where a process' certificate is. PEM, all of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate, and those between it and its authority.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// The authorities whose certificates are believed, of clients and of services that are connected to. Without any, no
    /// certificate is asked for, which only a Gateway can do.
    pub ca: Option<PathBuf>,
}

/// The bytes of the files, to tell a change, even one within a second.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Contents {
    certificate: Vec<u8>,
    key: Vec<u8>,
    ca: Option<Vec<u8>>,
}

/// What follows from them.
pub(super) struct Material {
    pub(super) server: Arc<ServerConfig>,
    /// To each role; none without an authority.
    clients: Vec<(Role, Arc<ClientConfig>)>,
    pub(super) identity: Identity,
    /// When what it is made of expires.
    pub(super) expiry: Expiry,
}

impl TlsFiles {
    /// Reads all. Blocks.
    pub(super) fn read(&self) -> Result<Contents, TlsError> {
        Ok(Contents {
            certificate: read(&self.certificate)?,
            key: read(&self.key)?,
            ca: self.ca.as_deref().map(read).transpose()?,
        })
    }
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    let mut bytes = Vec::new();
    let file = fs::File::open(path).and_then(|file| file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes));
    file.map_err(|source| TlsError::Read { path: path.to_owned(), source })?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(TlsError::Size { path: path.to_owned(), limit: MAX_FILE_BYTES });
    }
    Ok(bytes)
}

impl Material {
    /// For a process of this role; `trust_domain` is the one it had so far.
    pub(super) fn new(
        files: &TlsFiles,
        contents: &Contents,
        role: Role,
        trust_domain: Option<&str>,
    ) -> Result<Self, TlsError> {
        let provider = Arc::new(ring::default_provider());
        let chain = certificates(&contents.certificate, &files.certificate)?;
        let unusable = |source| TlsError::Certificate { path: files.certificate.clone(), source };
        let identity = Identity::of(&chain[0]).map_err(|error| unusable(rustls::Error::General(error.to_string())))?;
        let own = key(&contents.key, files, chain.clone(), &provider)?;

        let roots = match (&contents.ca, &files.ca) {
            (Some(bytes), Some(path)) => Some((Arc::new(authorities(bytes, path)?), path)),
            _ => None,
        };
        let mut verifier: Arc<dyn ClientCertVerifier> = WebPkiClientVerifier::no_client_auth();
        let mut clients = Vec::new();
        if let Some((roots, path)) = &roots {
            verifier = client_verifier(roots, path, role, &provider)?;
            check_accepted(verifier.as_ref(), &chain, &identity, files, path)?;
            for service in Role::ALL {
                let verifier = ServiceVerifier::new(Arc::clone(roots), &provider, *service, trust_domain_of(&identity));
                clients.push((*service, Arc::new(client_config(&provider, verifier, &own)?)));
            }
        } else if role != Role::Gateway {
            return Err(TlsError::NoAuthority { role });
        }
        check_identity(&identity, files, role, trust_domain)?;
        let server = Arc::new(server_config(&provider, verifier, own)?);
        let expiry = Expiry::of(&contents.certificate, contents.ca.as_deref());
        Ok(Self { server, clients, identity, expiry })
    }

    /// How to connect to a service. `None`: there is no authority to believe.
    pub(super) fn client(&self, service: Role) -> Option<Arc<ClientConfig>> {
        self.clients.iter().find(|(role, _)| *role == service).map(|(_, config)| Arc::clone(config))
    }
}

fn trust_domain_of(identity: &Identity) -> Option<Arc<str>> {
    identity.service().map(|service| Arc::clone(&service.trust_domain))
}

fn certificates(pem: &[u8], path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let missing = || TlsError::Missing { wanted: "a certificate", path: path.to_owned() };
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    found.ok().filter(|chain| !chain.is_empty()).ok_or_else(missing)
}

fn key(
    pem: &[u8],
    files: &TlsFiles,
    chain: Vec<CertificateDer<'static>>,
    provider: &CryptoProvider,
) -> Result<Arc<SingleCertAndKey>, TlsError> {
    // The error could repeat what it could not read.
    let key = PrivateKeyDer::from_pem_slice(pem)
        .map_err(|_| TlsError::Missing { wanted: "a private key", path: files.key.clone() })?;
    let own = CertifiedKey::from_der(chain, key, provider).map_err(|source| TlsError::Key {
        key: files.key.clone(),
        certificate: files.certificate.clone(),
        source,
    })?;
    Ok(Arc::new(own.into()))
}

fn authorities(pem: &[u8], path: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(pem, path)? {
        roots
            .add(certificate)
            .map_err(|error| TlsError::Authority { path: path.to_owned(), problem: error.to_string() })?;
    }
    Ok(roots)
}

/// Wants certificates; a Gateway takes callers without one, too.
fn client_verifier(
    roots: &Arc<RootCertStore>,
    path: &Path,
    role: Role,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let mut builder = WebPkiClientVerifier::builder_with_provider(Arc::clone(roots), Arc::clone(provider));
    if role == Role::Gateway {
        builder = builder.allow_unauthenticated();
    }
    let built = builder.build();
    let built = built.map_err(|error| TlsError::Authority { path: path.to_owned(), problem: error.to_string() })?;
    Ok(built)
}

/// A service's own certificate must be one that the others believe. What a Gateway shows to the public may be of any
/// authority.
fn check_accepted(
    verifier: &dyn ClientCertVerifier,
    chain: &[CertificateDer<'_>],
    identity: &Identity,
    files: &TlsFiles,
    ca: &Path,
) -> Result<(), TlsError> {
    if identity.service().is_none() {
        return Ok(());
    }
    verifier
        .verify_client_cert(&chain[0], &chain[1..], UnixTime::now())
        .map(drop)
        .map_err(|source| TlsError::NotAccepted { certificate: files.certificate.clone(), ca: ca.to_owned(), source })
}

fn check_identity(
    identity: &Identity,
    files: &TlsFiles,
    role: Role,
    trust_domain: Option<&str>,
) -> Result<(), TlsError> {
    let found = trust_domain_of(identity);
    if trust_domain.is_some_and(|wanted| found.as_deref() != Some(wanted)) {
        let wanted = trust_domain.unwrap_or_default().to_owned();
        return Err(TlsError::TrustDomain { wanted, found: identity.clone() });
    }
    let fits = match identity.service() {
        Some(service) => service.role == role,
        None => role == Role::Gateway && !identity.claims(Role::ALL),
    };
    if !fits {
        return Err(TlsError::Role { role, path: files.certificate.clone(), found: identity.clone() });
    }
    Ok(())
}

fn server_config(
    provider: &Arc<CryptoProvider>,
    verifier: Arc<dyn ClientCertVerifier>,
    own: Arc<SingleCertAndKey>,
) -> Result<ServerConfig, TlsError> {
    let mut config = ServerConfig::builder_with_provider(Arc::clone(provider))
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(own);
    config.alpn_protocols = vec![ALPN.to_vec()];
    // Connections last; whoever comes again shows its certificate again, against the authorities of that moment.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}

fn client_config(
    provider: &Arc<CryptoProvider>,
    verifier: ServiceVerifier,
    own: &Arc<SingleCertAndKey>,
) -> Result<ClientConfig, TlsError> {
    let mut config = ClientConfig::builder_with_provider(Arc::clone(provider))
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_client_cert_resolver(Arc::clone(own) as Arc<_>);
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.resumption = Resumption::disabled();
    Ok(config)
}
