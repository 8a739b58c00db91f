//! An authority whose name follows from its key, so that nothing but the key is needed to go on with it.

use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    SanType,
};

const DAY: Duration = Duration::from_secs(86_400);
const AUTHORITY_DAYS: u32 = 3_650;
/// Clocks of different machines differ.
const BEFORE: Duration = Duration::from_secs(3_600);

/// Signs certificates.
pub(super) struct Authority {
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    pub(super) fn new() -> Result<Self> {
        Self::with(KeyPair::generate()?)
    }

    /// The one that has this private key (PEM). Its text is not repeated in errors.
    pub(super) fn of_key(pem: &str) -> Result<Self> {
        Self::with(KeyPair::from_pem(pem).ok().context("it holds no private key that was made here")?)
    }

    fn with(key: KeyPair) -> Result<Self> {
        Ok(Self { issuer: Issuer::new(params(&key)?, key) })
    }

    pub(super) fn key_pem(&self) -> String {
        self.issuer.key().serialize_pem()
    }

    pub(super) fn certificate_pem(&self) -> Result<String> {
        Ok(params(self.issuer.key())?.self_signed(self.issuer.key())?.pem())
    }

    /// A certificate for servers and clients, and its key, both PEM.
    pub(super) fn issue(&self, name: &str, uri: Option<&str>, hosts: &[String], days: u32) -> Result<(String, String)> {
        let mut params = CertificateParams::new(hosts).context("a --host is no name and no address")?;
        if let Some(uri) = uri {
            params.subject_alt_names.push(SanType::URI(uri.try_into()?));
        }
        params.distinguished_name.push(DnType::CommonName, format!("hashmesh {name}"));
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        valid(&mut params, days);
        let key = KeyPair::generate()?;
        Ok((params.signed_by(&key, &self.issuer)?.pem(), key.serialize_pem()))
    }
}

fn params(key: &KeyPair) -> Result<CertificateParams> {
    let mut params = CertificateParams::new(Vec::<String>::new())?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    // Two authorities have two names: else a certificate of the other would look forged, and not unknown.
    let id = hex::encode(params.key_identifier(key));
    params.distinguished_name.push(DnType::CommonName, format!("hashmesh authority {}", &id[..16]));
    valid(&mut params, AUTHORITY_DAYS);
    Ok(params)
}

fn valid(params: &mut CertificateParams, days: u32) {
    let now = SystemTime::now();
    params.not_before = (now - BEFORE).into();
    params.not_after = (now + DAY * days).into();
}
