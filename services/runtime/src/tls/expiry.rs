//! Until when a process' certificates are worth something.

use std::time::{SystemTime, UNIX_EPOCH};

use tokio::sync::watch;

use super::{look::Certificate, material::Material};
use crate::metrics::{Watch, catalogue::process::CERTIFICATE_EXPIRY};

/// Of what the files hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Expiry {
    /// Of the certificate, or of one between it and its authority, if that is sooner.
    own: Option<SystemTime>,
    /// Of the authority.
    authority: Option<SystemTime>,
}

impl Expiry {
    /// What cannot be read expires at no time that is known.
    pub(super) fn of(chain_pem: &[u8], ca_pem: Option<&[u8]>) -> Self {
        let chain = Certificate::in_pem(chain_pem).unwrap_or_default();
        let authorities = ca_pem.and_then(|pem| Certificate::in_pem(pem).ok()).unwrap_or_default();
        let issuer = chain.last().map(|last| last.issuer.as_str());
        let ends = |issued: bool| {
            let of_them = authorities.iter().filter(|authority| !issued || Some(authority.subject.as_str()) == issuer);
            of_them.map(|authority| authority.not_after).max()
        };
        // While an authority is replaced there are two, and the old one may go. What a Gateway shows to the public may be of
        // an authority that is not among ours.
        let authority = ends(true).or_else(|| ends(false));
        Self { own: chain.iter().map(|certificate| certificate.not_after).min(), authority }
    }
}

/// One of them.
type Read = fn(&Expiry) -> Option<SystemTime>;

/// Exports what is in use, until dropped. Of a process' one set of certificates: a second one would be added to it.
pub(super) fn watch(current: &watch::Receiver<std::sync::Arc<Material>>) -> Vec<Watch> {
    let kinds: [(&str, Read); 2] = [("own", |expiry| expiry.own), ("authority", |expiry| expiry.authority)];
    let first = current.borrow().expiry;
    let there = kinds.into_iter().filter(|(_, read)| read(&first).is_some());
    let exported = |(name, read): (&str, Read)| {
        let current = current.clone();
        CERTIFICATE_EXPIRY.watch(&[name], move || seconds(read(&current.borrow().expiry)))
    };
    there.map(exported).collect()
}

fn seconds(expiry: Option<SystemTime>) -> f64 {
    expiry.and_then(|at| at.duration_since(UNIX_EPOCH).ok()).map_or(f64::NAN, |since| since.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::tls::{Role, test_authority::Authority};

    fn ends(pem: &str) -> Option<SystemTime> {
        Some(Certificate::in_pem(pem.as_bytes()).unwrap()[0].not_after)
    }

    #[test]
    fn what_expires_first_of_a_chain_counts_and_of_authorities_the_one_that_has_signed_it() {
        let (ours, others) = (Authority::new(), Authority::new());
        let (day, _) = ours.service(Role::Queue);
        let (hour, _) = ours.issue(&[], Some(Duration::from_secs(3_600)));
        let both = format!("{}{}", others.pem, ours.pem);
        let expiry = Expiry::of(day.as_bytes(), Some(both.as_bytes()));
        assert_eq!(expiry, Expiry { own: ends(&day), authority: ends(&ours.pem) });
        let chain = format!("{day}{hour}");
        assert_eq!(Expiry::of(chain.as_bytes(), None), Expiry { own: ends(&hour), authority: None });
        let elsewhere = Expiry::of(day.as_bytes(), Some(others.pem.as_bytes()));
        assert_eq!(elsewhere.authority, ends(&others.pem), "better than nothing");
    }
}
