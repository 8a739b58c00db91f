//! Who holds a certificate: a service's role, in the one URI of its subject alternative name.
//!
//! `spiffe://TRUST_DOMAIN/hashmesh/ROLE`, as the SPIFFE standard (X509-SVID) lays it down, because issuers of short-lived
//! certificates (SPIRE, cert-manager, Istio, Vault) make such names, and because a name that says what a service *is* stays
//! true when it moves to another host.

use std::{fmt, sync::Arc};

use rustls::pki_types::CertificateDer;

/// What a process of the mesh is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Serves the public API, and asks the others on behalf of its callers.
    Gateway,
    /// Owns submissions and leases.
    Queue,
    /// Computes digests for Gateways.
    Hash,
    /// Takes leases.
    Worker,
    /// Keeps what Gateways share and may lose.
    Cache,
}

impl Role {
    /// Every role.
    pub const ALL: &[Self] = &[Self::Gateway, Self::Queue, Self::Hash, Self::Worker, Self::Cache];

    /// As it stands in a certificate, and as the command that runs it is called.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Gateway => "gateway",
            Self::Queue => "queue",
            Self::Hash => "hash",
            Self::Worker => "worker",
            Self::Cache => "cache",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A service of ours: `spiffe://TRUST_DOMAIN/hashmesh/ROLE`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceId {
    /// Whose mesh it belongs to.
    pub trust_domain: Arc<str>,
    /// What it is there.
    pub role: Role,
}

/// Bytes of a trust domain at most, and what they may be (SPIFFE-ID, 2.1).
const MAX_TRUST_DOMAIN_BYTES: usize = 255;

impl ServiceId {
    /// Reads a URI. `None`: it names no service of ours.
    #[must_use]
    pub fn parse(uri: &str) -> Option<Self> {
        let (trust_domain, path) = uri.strip_prefix("spiffe://")?.split_once('/')?;
        let name = path.strip_prefix("hashmesh/")?;
        let role = Role::ALL.iter().copied().find(|role| role.name() == name)?;
        Self::trust_domain(trust_domain).map(|trust_domain| Self { trust_domain, role })
    }

    /// The trust domain in this text, if it is one.
    #[must_use]
    pub fn trust_domain(text: &str) -> Option<Arc<str>> {
        let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-_".contains(&byte);
        let valid = (1..=MAX_TRUST_DOMAIN_BYTES).contains(&text.len()) && text.bytes().all(allowed);
        valid.then(|| text.into())
    }
}

impl fmt::Display for ServiceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "spiffe://{}/hashmesh/{}", self.trust_domain, self.role)
    }
}

/// The URIs of a certificate that was verified; none for a peer that showed none. Cheap to clone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    named: Option<Arc<Named>>,
}

#[derive(Debug, PartialEq, Eq)]
struct Named {
    uris: Vec<String>,
    services: Vec<ServiceId>,
}

impl Identity {
    /// Of an end-entity certificate. Whether it may be believed is for others to decide first.
    pub(crate) fn of(certificate: &CertificateDer<'_>) -> Result<Self, webpki::Error> {
        let certificate = webpki::EndEntityCert::try_from(certificate)?;
        Ok(Self::of_uris(certificate.valid_uri_names().map(str::to_owned).collect()))
    }

    /// Of these URIs.
    pub(super) fn of_uris(uris: Vec<String>) -> Self {
        let services = uris.iter().filter_map(|uri| ServiceId::parse(uri)).collect();
        Self { named: Some(Arc::new(Named { uris, services })) }
    }

    /// True if there is a certificate.
    #[must_use]
    pub fn certified(&self) -> bool {
        self.named.is_some()
    }

    /// Every URI of the certificate.
    #[must_use]
    pub fn uris(&self) -> &[String] {
        self.named.as_ref().map_or(&[], |named| &named.uris)
    }

    /// The service it is. `None` where there is more than one URI, since nobody could say which of them is meant
    /// (X509-SVID, 2).
    #[must_use]
    pub fn service(&self) -> Option<&ServiceId> {
        let named = self.named.as_ref()?;
        if named.uris.len() == 1 { named.services.first() } else { None }
    }

    /// True if any of its URIs says so: for what a role is *not* to do.
    pub(super) fn claims(&self, roles: &[Role]) -> bool {
        self.named.as_ref().is_some_and(|named| named.services.iter().any(|service| roles.contains(&service.role)))
    }
}

/// For errors and logs.
impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.uris() {
            [] if self.certified() => f.write_str("a certificate without a URI"),
            [] => f.write_str("no certificate"),
            uris => f.write_str(&uris.join(", ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_is_named_by_one_uri_and_by_no_other_text() {
        let id = ServiceId::parse("spiffe://mesh.example/hashmesh/queue").unwrap();
        assert_eq!((id.role, &*id.trust_domain), (Role::Queue, "mesh.example"));
        assert_eq!(id.to_string(), "spiffe://mesh.example/hashmesh/queue");
        let longest = "d".repeat(MAX_TRUST_DOMAIN_BYTES);
        assert!(ServiceId::parse(&format!("spiffe://{longest}/hashmesh/hash")).is_some());
        assert!(ServiceId::parse(&format!("spiffe://{longest}d/hashmesh/hash")).is_none());
        for wrong in [
            "spiffe:///hashmesh/queue",
            "spiffe://Mesh/hashmesh/queue",
            "spiffe://mesh:1/hashmesh/queue",
            "spiffe://user@mesh/hashmesh/queue",
            "spiffe://mesh/hashmesh/queue/",
            "spiffe://mesh/hashmesh/queue/worker",
            "spiffe://mesh/hashmesh/Queue",
            "spiffe://mesh/other/queue",
            "spiffe://mesh/hashmesh/",
            "https://mesh/hashmesh/queue",
            "",
        ] {
            assert_eq!(ServiceId::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn of_two_uris_neither_makes_a_service_and_each_can_exclude() {
        let uri = |role: &str| format!("spiffe://mesh/hashmesh/{role}");
        let both = Identity::of_uris(vec![uri("gateway"), uri("worker")]);
        assert_eq!(both.service(), None);
        assert!(both.claims(&[Role::Worker]) && !both.claims(&[Role::Hash]));
        assert_eq!(Identity::of_uris(vec![uri("gateway")]).service().unwrap().role, Role::Gateway);
        assert!(!Identity::default().certified() && Identity::default().uris().is_empty());
    }
}
