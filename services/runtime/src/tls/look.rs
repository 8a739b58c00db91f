//! A look at certificates, without believing them: what a server shows, what a file holds.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::{Arc, OnceLock},
    time::{Duration, SystemTime},
};

use rustls::{
    ClientConfig, DigitallySignedStruct, Error, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject as _},
};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use x509_cert::{
    der::Decode as _,
    ext::pkix::{SubjectAltName, name::GeneralName},
};

use super::material::ALPN;

/// What stands in a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// Whose it is; often empty, the names say it.
    pub subject: String,
    /// Who signed it.
    pub issuer: String,
    /// Hosts, addresses and URIs that it is for.
    pub names: Vec<String>,
    /// Valid from then.
    pub not_before: SystemTime,
    /// Valid until then.
    pub not_after: SystemTime,
}

/// Why there is nothing to be seen.
#[derive(Debug, thiserror::Error)]
pub enum LookError {
    /// The host is no name and no address.
    #[error("{host:?} is neither a name nor an address")]
    Host {
        /// As given.
        host: String,
    },
    /// No connection, or what answers speaks no TLS.
    #[error("no TLS with {host}:{port}")]
    Handshake {
        /// The host.
        host: String,
        /// The port.
        port: u16,
        /// Why not.
        source: io::Error,
    },
    /// Something else than a certificate.
    #[error("there is no certificate that could be read")]
    Unreadable,
}

impl Certificate {
    /// Those in a PEM file, in its order.
    ///
    /// # Errors
    /// If there are none, or one cannot be read.
    pub fn in_pem(pem: &[u8]) -> Result<Vec<Self>, LookError> {
        let found: Result<Vec<CertificateDer<'_>>, _> = CertificateDer::pem_slice_iter(pem).collect();
        Self::chain(&found.map_err(|_| LookError::Unreadable)?)
    }

    fn chain(found: &[CertificateDer<'_>]) -> Result<Vec<Self>, LookError> {
        if found.is_empty() {
            return Err(LookError::Unreadable);
        }
        found.iter().map(Self::read).collect()
    }

    fn read(der: &CertificateDer<'_>) -> Result<Self, LookError> {
        let certificate = x509_cert::Certificate::from_der(der).map_err(|_| LookError::Unreadable)?;
        let certificate = certificate.tbs_certificate;
        let names = match certificate.get::<SubjectAltName>() {
            Ok(Some((_, names))) => names.0.iter().filter_map(text).collect(),
            _ => Vec::new(),
        };
        Ok(Self {
            subject: certificate.subject.to_string(),
            issuer: certificate.issuer.to_string(),
            names,
            not_before: certificate.validity.not_before.to_system_time(),
            not_after: certificate.validity.not_after.to_system_time(),
        })
    }
}

fn text(name: &GeneralName) -> Option<String> {
    match name {
        GeneralName::DnsName(name) => Some(name.to_string()),
        GeneralName::UniformResourceIdentifier(uri) => Some(uri.to_string()),
        GeneralName::IpAddress(octets) => {
            let bytes = octets.as_bytes();
            let v4 = <[u8; 4]>::try_from(bytes).map(|bytes| IpAddr::V4(Ipv4Addr::from(bytes)));
            let v6 = || <[u8; 16]>::try_from(bytes).map(|bytes| IpAddr::V6(Ipv6Addr::from(bytes)));
            v4.or_else(|_| v6()).ok().map(|address| address.to_string())
        }
        _ => None,
    }
}

/// The certificates that a server shows, its own first, whatever they are worth. Nothing is sent to it but a handshake.
///
/// # Errors
/// If it shows none within this time.
pub async fn look(host: &str, port: u16, within: Duration) -> Result<Vec<Certificate>, LookError> {
    let name = ServerName::try_from(host.to_owned()).map_err(|_| LookError::Host { host: host.to_owned() })?;
    let failed = |source| LookError::Handshake { host: host.to_owned(), port, source };
    let provider = Arc::new(ring::default_provider());
    let onlooker = Arc::new(Onlooker { seen: OnceLock::new(), provider: Arc::clone(&provider) });
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| failed(io::Error::other(error)))?;
    let mut config =
        config.dangerous().with_custom_certificate_verifier(Arc::<Onlooker>::clone(&onlooker)).with_no_client_auth();
    config.alpn_protocols = vec![ALPN.to_vec()];
    let shake = async {
        let stream = TcpStream::connect((host, port)).await?;
        TlsConnector::from(Arc::new(config)).connect(name, stream).await.map(drop)
    };
    let shaken = tokio::time::timeout(within, shake).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
    // A server that wants a certificate of ours has shown its own before it hangs up.
    match (onlooker.seen.get(), shaken) {
        (Some(seen), _) => Certificate::chain(seen),
        (None, Err(source)) => Err(failed(source)),
        (None, Ok(())) => Err(LookError::Unreadable),
    }
}

/// Keeps what it is shown, and objects to nothing: whoever uses it sends nothing that matters.
#[derive(Debug)]
struct Onlooker {
    seen: OnceLock<Vec<CertificateDer<'static>>>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Onlooker {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let shown = [certificate].into_iter().chain(intermediates).map(|shown| shown.clone().into_owned());
        // Once per handshake.
        let _ = self.seen.set(shown.collect());
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, KeyPair};

    use super::*;

    #[test]
    fn a_certificate_says_how_long_it_is_valid_for_whom_and_by_whom() {
        let mut params = CertificateParams::new(vec!["mesh.example".to_owned(), "127.0.0.1".to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, "the mesh");
        let now = SystemTime::now();
        params.not_after = (now + Duration::from_secs(86_400)).into();
        let pem = params.self_signed(&KeyPair::generate().unwrap()).unwrap().pem();
        let found = Certificate::in_pem(pem.as_bytes()).unwrap().remove(0);
        assert_eq!(found.names, ["mesh.example", "127.0.0.1"]);
        assert!(found.issuer.contains("CN=the mesh") && found.subject == found.issuer, "{found:?}");
        let left = found.not_after.duration_since(now).unwrap().as_secs();
        assert!((86_398..=86_400).contains(&left), "{left}");
    }

    #[test]
    fn what_is_no_certificate_is_said_to_be_none() {
        for text in ["", "nonsense", "-----BEGIN CERTIFICATE-----\naGVsbG8=\n-----END CERTIFICATE-----\n"] {
            assert!(matches!(Certificate::in_pem(text.as_bytes()), Err(LookError::Unreadable)), "{text}");
        }
    }
}
