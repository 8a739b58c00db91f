//! TLS to a mesh: whom to believe, and what to show.

use std::{error::Error, fmt, io, iter, net::IpAddr};

use tonic::{
    Status,
    transport::{Certificate, ClientTlsConfig, Identity, Uri},
};

/// How a client of an `https://` server tells that it is the right one, and who the client is. By default the system's
/// authorities are believed, and no certificate is shown.
#[derive(Clone, Default)]
pub struct TlsOptions {
    authorities: Option<Vec<u8>>,
    /// Certificate and key.
    own: Option<(Vec<u8>, Vec<u8>)>,
}

impl TlsOptions {
    /// Believes these authorities (PEM) instead of the system's.
    #[must_use]
    pub fn authorities(self, pem: impl Into<Vec<u8>>) -> Self {
        Self { authorities: Some(pem.into()), ..self }
    }

    /// Shows this certificate, whose private key this is (PEM, both).
    #[must_use]
    pub fn certificate(self, certificate: impl Into<Vec<u8>>, key: impl Into<Vec<u8>>) -> Self {
        Self { own: Some((certificate.into(), key.into())), ..self }
    }

    pub(super) fn config(&self) -> ClientTlsConfig {
        let mut config = match &self.authorities {
            Some(pem) => ClientTlsConfig::new().ca_certificate(Certificate::from_pem(pem)),
            None => ClientTlsConfig::new().with_native_roots(),
        };
        if let Some((certificate, key)) = &self.own {
            config = config.identity(Identity::from_pem(certificate, key));
        }
        config
    }
}

impl fmt::Debug for TlsOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Nothing of a key.
        f.debug_struct("TlsOptions")
            .field("authorities", &self.authorities.as_ref().map(Vec::len))
            .field("own", &self.own.is_some())
            .finish()
    }
}

/// True if what is sent there passes nobody else: plain text to this machine, or TLS to any.
pub(super) fn private(uri: &Uri) -> bool {
    let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    let loopback = host.eq_ignore_ascii_case("localhost")
        || host.parse::<IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback());
    uri.scheme_str() == Some("https") || loopback
}

/// What is wrong where TLS failed for a reason that waiting does not mend. `None`: it was something else.
pub(super) fn refusal(status: &Status) -> Option<String> {
    use rustls::{AlertDescription as Alert, CertificateError as Bad, Error as Tls};
    let error = causes(status).find_map(|cause| {
        let inner = cause.downcast_ref::<io::Error>()?.get_ref()?;
        inner.downcast_ref::<rustls::Error>()
    })?;
    let hint = match error {
        // Said by a peer that has troubles of its own.
        Tls::AlertReceived(Alert::InternalError | Alert::UserCanceled | Alert::CloseNotify) => return None,
        Tls::InvalidCertificate(Bad::UnknownIssuer) => "; name the authority it is of (--tls-ca FILE)",
        Tls::InvalidCertificate(Bad::Expired | Bad::ExpiredContext { .. }) => "; whoever runs it must renew it",
        Tls::InvalidCertificate(Bad::NotValidForName | Bad::NotValidForNameContext { .. }) => {
            "; use a name that stands in the certificate"
        }
        Tls::InvalidMessage(_) | Tls::AlertReceived(Alert::ProtocolVersion) => "; if it speaks plain text, say http://",
        Tls::AlertReceived(_) => "; it refuses our certificate, or that we show none",
        _ => "",
    };
    Some(format!("{error}{hint}"))
}

/// What an outage may be that looks like the end of a handshake: a server that stops, or one that speaks plain text.
pub(super) fn hint(status: &Status) -> Option<&'static str> {
    let hung_up = |cause: &(dyn Error + 'static)| {
        let error = cause.downcast_ref::<io::Error>();
        error.is_some_and(|error| {
            error.kind() == io::ErrorKind::UnexpectedEof && error.to_string().contains("tls handshake")
        })
    };
    causes(status).any(hung_up).then_some("it hangs up on TLS; if it speaks plain text, say http://")
}

fn causes<'a>(status: &'a Status) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    let further = |cause: &&'a (dyn Error + 'static)| -> Option<&'a (dyn Error + 'static)> { (*cause).source() };
    iter::successors(status.source(), further)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_text_is_private_on_this_machine_only() {
        for (uri, expected) in [
            ("http://127.0.0.1:7420", true),
            ("http://127.8.9.1:1", true),
            ("http://[::1]:7420", true),
            ("http://[::ffff:127.0.0.1]:7420", true),
            ("http://LOCALHOST:7420", true),
            ("https://mesh.example", true),
            ("http://mesh.example:7420", false),
            ("http://10.0.0.1:7420", false),
            ("http://localhost.example:7420", false),
            ("http://0.0.0.0:7420", false),
        ] {
            assert_eq!(private(&uri.parse().unwrap()), expected, "{uri}");
        }
    }

    #[test]
    fn a_key_is_not_shown() {
        let options = TlsOptions::default().certificate("certificate", "SECRET").authorities("ca");
        assert!(!format!("{options:?} {options:#?}").contains("SECRET"));
    }

    #[test]
    fn failures_of_tls_are_told_from_others_and_say_what_to_do() {
        let wrapped = |error: io::Error| Status::from_error(Box::new(tonic::ConnectError(Box::new(error))));
        let untrusted = rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer);
        let text = refusal(&wrapped(io::Error::new(io::ErrorKind::InvalidData, untrusted))).unwrap();
        assert!(text.contains("UnknownIssuer") && text.contains("--tls-ca"), "{text}");
        let declined = rustls::Error::AlertReceived(rustls::AlertDescription::ProtocolVersion);
        let text = refusal(&wrapped(io::Error::new(io::ErrorKind::InvalidData, declined))).unwrap();
        assert!(text.contains("http://"), "{text}");
        let hung_up = wrapped(io::Error::new(io::ErrorKind::UnexpectedEof, "tls handshake eof"));
        // It may just be stopping.
        assert_eq!(refusal(&hung_up), None);
        assert!(hint(&hung_up).unwrap().contains("http://"));
        let refused = wrapped(io::ErrorKind::ConnectionRefused.into());
        assert_eq!((refusal(&refused), hint(&refused)), (None, None));
    }
}
