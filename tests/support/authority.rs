//! Certificates that `hashmesh certs` would not make: expired ones, ones without a name.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, SanType};

const DAY: Duration = Duration::from_secs(86_400);

/// An authority of a test, and where its certificates are put.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    directory: PathBuf,
}

/// Where one certificate is.
#[derive(Clone, Debug)]
pub(crate) struct Pair {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

impl Pair {
    /// Those of `hashmesh certs`.
    pub(crate) fn of(directory: &Path, name: &str) -> Self {
        Self { certificate: directory.join(format!("{name}.pem")), key: directory.join(format!("{name}.key")) }
    }

    /// The options of a process that shows it and believes this authority.
    pub(crate) fn options(&self, ca: Option<&Path>) -> Vec<String> {
        let mut options = vec![("--tls-cert", self.certificate.as_path()), ("--tls-key", self.key.as_path())];
        options.extend(ca.map(|ca| ("--tls-ca", ca)));
        options.into_iter().flat_map(|(flag, path)| [flag.to_owned(), path.display().to_string()]).collect()
    }
}

impl Authority {
    pub(crate) fn new(directory: &Path) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let name: String = key.public_key_raw()[..16].iter().map(|byte| format!("{byte:02x}")).collect();
        params.distinguished_name.push(DnType::CommonName, name);
        let certificate = params.self_signed(&key).expect("a certificate");
        fs::write(directory.join("ca.pem"), certificate.pem()).expect("a file");
        Self { issuer: Issuer::new(params, key), directory: directory.to_owned() }
    }

    pub(crate) fn ca(&self) -> PathBuf {
        self.directory.join("ca.pem")
    }

    /// A certificate for this host, with this URI if any. `expired`: since yesterday.
    pub(crate) fn issue(&self, name: &str, host: &str, uri: Option<&str>, expired: bool) -> Pair {
        let mut params = CertificateParams::new(vec![host.to_owned()]).expect("a host");
        params.subject_alt_names.extend(uri.map(|uri| SanType::URI(uri.try_into().expect("ASCII"))));
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let now = SystemTime::now();
        params.not_before = (now - 2 * DAY).into();
        params.not_after = if expired { now - DAY } else { now + DAY }.into();
        let key = KeyPair::generate().expect("a key");
        let pair = Pair::of(&self.directory, name);
        fs::write(&pair.key, key.serialize_pem()).expect("a file");
        fs::write(&pair.certificate, params.signed_by(&key, &self.issuer).expect("signed").pem()).expect("a file");
        pair
    }
}
