//! Whether who answers is the service that was meant.
//!
//! A service is known by its role, not by its host: a worker's certificate makes nobody a Queue, wherever it listens, and a
//! Queue may move.

use std::{fmt, sync::Arc};

use rustls::{
    CertificateError, DigitallySignedStruct, Error, OtherError, RootCertStore, SignatureScheme,
    client::{
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_cert_signed_by_trust_anchor,
    },
    crypto::{CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
    server::ParsedCertificate,
};

use super::identity::{Identity, Role};

/// Believes certificates of our authorities that name one role.
#[derive(Debug)]
pub(super) struct ServiceVerifier {
    roots: Arc<RootCertStore>,
    algorithms: WebPkiSupportedAlgorithms,
    role: Role,
    /// `None`: any, for a Gateway whose own certificate names none.
    trust_domain: Option<Arc<str>>,
}

/// Who answers is somebody else.
#[derive(thiserror::Error)]
#[error("wanted a certificate of the {wanted}, found {found}")]
struct WrongService {
    wanted: Role,
    found: Identity,
}

/// As its text: rustls shows what it does not know in this form only.
impl fmt::Debug for WrongService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl ServiceVerifier {
    pub(super) fn new(
        roots: Arc<RootCertStore>,
        provider: &CryptoProvider,
        role: Role,
        trust_domain: Option<Arc<str>>,
    ) -> Self {
        Self { roots, algorithms: provider.signature_verification_algorithms, role, trust_domain }
    }
}

impl ServerCertVerifier for ServiceVerifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let parsed = ParsedCertificate::try_from(certificate)?;
        let algorithms = self.algorithms.all;
        verify_server_cert_signed_by_trust_anchor(&parsed, &self.roots, intermediates, now, algorithms)?;
        let found = Identity::of(certificate).map_err(|_| Error::from(CertificateError::BadEncoding))?;
        let meant = found.service().is_some_and(|service| {
            let ours = self.trust_domain.as_ref().is_none_or(|ours| *ours == service.trust_domain);
            service.role == self.role && ours
        });
        if !meant {
            let wrong = WrongService { wanted: self.role, found };
            return Err(CertificateError::Other(OtherError(Arc::new(wrong))).into());
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
