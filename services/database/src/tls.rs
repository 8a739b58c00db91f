//! TLS to Postgres, as strict as `sslmode` asks.

use std::{path::Path, sync::Arc};

use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject as _},
};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::{
    error::DatabaseError,
    url::{Roots, Verification},
};

/// Stands for the host where there is none. Never sent: the driver refuses TLS without a host name later on.
const NO_HOST: &str = "socket.invalid";

/// Makes TLS sessions for the driver.
#[derive(Clone)]
pub(crate) struct Tls {
    inner: MakeRustlsConnect,
}

impl Tls {
    pub(crate) fn new(verification: &Verification) -> Result<Self, DatabaseError> {
        let provider = Arc::new(ring::default_provider());
        let verifier: Arc<dyn ServerCertVerifier> = match verification {
            Verification::None => Arc::new(AnyCertificate { provider: Arc::clone(&provider) }),
            Verification::Chain(roots) => Arc::new(AnyName { inner: web_pki(roots, &provider)? }),
            Verification::Full(roots) => web_pki(roots, &provider)?,
        };
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_no_client_auth();
        // Demanded by servers for sslnegotiation=direct, PostgreSQL 17 and newer.
        config.alpn_protocols = vec![b"postgresql".to_vec()];
        Ok(Self { inner: MakeRustlsConnect::new(config) })
    }
}

impl<S> MakeTlsConnect<S> for Tls
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    type Stream = <MakeRustlsConnect as MakeTlsConnect<S>>::Stream;
    type TlsConnect = <MakeRustlsConnect as MakeTlsConnect<S>>::TlsConnect;
    type Error = <MakeRustlsConnect as MakeTlsConnect<S>>::Error;

    fn make_tls_connect(&mut self, host: &str) -> Result<Self::TlsConnect, Self::Error> {
        // The driver asks for sockets too, with an empty name, which rustls would refuse.
        let host = if host.is_empty() { NO_HOST } else { host };
        <MakeRustlsConnect as MakeTlsConnect<S>>::make_tls_connect(&mut self.inner, host)
    }
}

fn web_pki(roots: &Roots, provider: &Arc<CryptoProvider>) -> Result<Arc<WebPkiServerVerifier>, DatabaseError> {
    let store = match roots {
        Roots::System => system_roots()?,
        Roots::File(path) => roots_of_file(path)?,
    };
    WebPkiServerVerifier::builder_with_provider(Arc::new(store), Arc::clone(provider))
        .build()
        .map_err(|error| Error::General(error.to_string()).into())
}

fn system_roots() -> Result<RootCertStore, DatabaseError> {
    let found = rustls_native_certs::load_native_certs();
    let mut store = RootCertStore::empty();
    // Stores hold odd certificates here and there: one good root is enough to start with.
    let (added, _ignored) = store.add_parsable_certificates(found.certs);
    if added == 0 {
        let problem = found.errors.first().map_or_else(|| "it is empty".to_owned(), ToString::to_string);
        return Err(DatabaseError::Roots { from: "the system's store".to_owned(), problem });
    }
    Ok(store)
}

fn roots_of_file(path: &Path) -> Result<RootCertStore, DatabaseError> {
    let mut store = RootCertStore::empty();
    let certificates = CertificateDer::pem_file_iter(path).map_err(|error| DatabaseError::roots(path, &error))?;
    for certificate in certificates {
        let certificate = certificate.map_err(|error| DatabaseError::roots(path, &error))?;
        store.add(certificate).map_err(|error| DatabaseError::roots(path, &error))?;
    }
    if store.is_empty() {
        return Err(DatabaseError::roots(path, &"no certificate in it"));
    }
    Ok(store)
}

/// `sslmode=require`: encrypted, with whoever answers. Signatures are checked, so the peer has the key it shows.
#[derive(Debug)]
struct AnyCertificate {
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// `sslmode=verify-ca`: a certificate of one of the roots, for any name.
#[derive(Debug)]
struct AnyName {
    inner: Arc<WebPkiServerVerifier>,
}

impl ServerCertVerifier for AnyName {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match self.inner.verify_server_cert(certificate, intermediates, name, ocsp, now) {
            // The name is looked at last, so everything else was in order.
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}
