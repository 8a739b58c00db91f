//! An authority of tests, and certificates of it in files.

use std::{fs, path::Path, time::Duration, time::SystemTime};

use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, SanType};

use super::{Role, TlsFiles};

const DAY: Duration = Duration::from_secs(86_400);

pub(crate) struct Authority {
    pub(crate) pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        // Names of its own, as every authority has: else who signed is not even looked for.
        let name: String = key.public_key_raw().iter().map(|byte| format!("{byte:02x}")).collect();
        params.distinguished_name.push(DnType::CommonName, &name[..32]);
        let pem = params.self_signed(&key).unwrap().pem();
        Self { pem, issuer: Issuer::new(params, key) }
    }

    /// A certificate with these URIs for `localhost`, and its key, both PEM. It ends `ends_in` from now, or ended a day ago.
    pub(crate) fn issue(&self, uris: &[String], ends_in: Option<Duration>) -> (String, String) {
        let mut params = CertificateParams::new(vec!["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
        for uri in uris {
            params.subject_alt_names.push(SanType::URI(uri.as_str().try_into().unwrap()));
        }
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let now = SystemTime::now();
        params.not_before = (now - 2 * DAY).into();
        params.not_after = ends_in.map_or(now - DAY, |ends_in| now + ends_in).into();
        let key = KeyPair::generate().unwrap();
        (params.signed_by(&key, &self.issuer).unwrap().pem(), key.serialize_pem())
    }

    /// Those of a service of the trust domain `mesh`.
    pub(crate) fn service(&self, role: Role) -> (String, String) {
        self.issue(&[format!("spiffe://mesh/hashmesh/{role}")], Some(DAY))
    }

    /// Files of a service in a directory, which believe this authority.
    pub(crate) fn files(&self, directory: &Path, role: Role) -> TlsFiles {
        let at = |name: &str| directory.join(format!("{role}.{name}"));
        let files = TlsFiles { certificate: at("pem"), key: at("key"), ca: Some(at("ca")) };
        let (certificate, key) = self.service(role);
        write(&files, &certificate, &key, &self.pem);
        files
    }
}

/// Writes all three.
pub(crate) fn write(files: &TlsFiles, certificate: &str, key: &str, ca: &str) {
    fs::write(&files.certificate, certificate).unwrap();
    fs::write(&files.key, key).unwrap();
    fs::write(files.ca.as_ref().unwrap(), ca).unwrap();
}
