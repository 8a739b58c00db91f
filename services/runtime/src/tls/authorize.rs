//! Stops a call that its caller's certificate does not allow, before a byte of its body is read.

use std::{
    collections::BTreeSet,
    convert::Infallible,
    sync::Arc,
    task::{Context, Poll},
};

use futures::future::{Either, Ready, ready};
use hashmesh::error::{Reason, StatusBuilder};
use http::{Request, Response};
use tonic::{Status, body::Body};
use tower::{Layer, Service};

use super::{
    Tls,
    identity::{Identity, Role},
    methods::{Rule, rule},
};
use crate::{server::Peer, telemetry::Repeated};

/// Calls of those who may not make them: as many as they like.
static REFUSED: Repeated = Repeated::at_most(10);

/// Holds a server's callers to the table. Without TLS nobody has a certificate, and everything passes.
#[derive(Clone, Debug)]
pub(crate) struct Authorize {
    policy: Option<Arc<Policy>>,
}

#[derive(Debug)]
struct Policy {
    trust_domain: Option<Arc<str>>,
    /// What is served here: an unknown method of anything else is answered as such.
    mounted: BTreeSet<&'static str>,
}

impl Authorize {
    /// For a server of these services.
    pub(crate) fn new(tls: Option<&Tls>, mounted: BTreeSet<&'static str>) -> Self {
        Self { policy: tls.map(|tls| Arc::new(Policy { trust_domain: tls.trust_domain().cloned(), mounted })) }
    }
}

impl<S> Layer<S> for Authorize {
    type Service = Authorized<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Authorized { inner, policy: self.policy.clone() }
    }
}

/// A service behind [`Authorize`].
#[derive(Clone, Debug)]
pub(crate) struct Authorized<S> {
    inner: S,
    policy: Option<Arc<Policy>>,
}

impl<S, B> Service<Request<B>> for Authorized<S>
where
    S: Service<Request<B>, Response = Response<Body>, Error = Infallible>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Either<S::Future, Ready<Result<Response<Body>, Infallible>>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let Some(policy) = &self.policy else { return Either::Left(self.inner.call(request)) };
        let nobody = Identity::default();
        let caller = request.extensions().get::<Peer>().map_or(&nobody, |peer| &peer.identity);
        match policy.check(request.uri().path(), caller) {
            Ok(()) => Either::Left(self.inner.call(request)),
            Err(status) => Either::Right(ready(Ok(status.into_http()))),
        }
    }
}

impl Policy {
    fn check(&self, path: &str, caller: &Identity) -> Result<(), Status> {
        let allowed = match rule(path) {
            Some(Rule::Anybody) => true,
            Some(Rule::AnybodyBut(roles)) => !caller.claims(roles),
            Some(Rule::Only(role)) => self.ours(caller, role),
            Some(Rule::OneOf(roles)) => roles.iter().any(|role| self.ours(caller, *role)),
            None => !self.serves(path),
        };
        if allowed {
            return Ok(());
        }
        if let Some(left_out) = REFUSED.failed() {
            tracing::warn!(path, %caller, left_out, "refused: not for the role of this certificate");
        }
        let message = format!("{path} is not for {caller}: call it with a certificate of a role that may");
        Err(StatusBuilder::new(Reason::RoleNotAllowed, message).build())
    }

    fn ours(&self, caller: &Identity, role: Role) -> bool {
        caller
            .service()
            .is_some_and(|service| service.role == role && self.trust_domain.as_ref() == Some(&service.trust_domain))
    }

    fn serves(&self, path: &str) -> bool {
        let service = path.strip_prefix('/').and_then(|path| path.split_once('/')).map(|(service, _)| service);
        service.is_some_and(|service| self.mounted.contains(service))
    }
}

#[cfg(test)]
mod tests {
    use hashmesh::error::reason;
    use tonic::Code;

    use super::*;

    const QUEUE: &str = "hashmesh.queue.v1.QueueService";

    fn policy() -> Policy {
        Policy { trust_domain: Some("ours".into()), mounted: BTreeSet::from([QUEUE]) }
    }

    fn caller(uri: &str) -> Identity {
        Identity::of_uris(vec![uri.to_owned()])
    }

    #[test]
    fn a_role_of_our_trust_domain_may_what_the_table_says_and_nobody_else_may() {
        let may = |uri: &str, method: &str| policy().check(&format!("/{QUEUE}/{method}"), &caller(uri)).is_ok();
        assert!(may("spiffe://ours/hashmesh/worker", "LeaseTasks"));
        assert!(!may("spiffe://ours/hashmesh/worker", "SubmitBatch"));
        assert!(may("spiffe://ours/hashmesh/gateway", "SubmitBatch"));
        assert!(!may("spiffe://ours/hashmesh/gateway", "LeaseTasks"));
        assert!(!may("spiffe://theirs/hashmesh/gateway", "SubmitBatch"));
        assert!(!may("https://ours/a-person", "SubmitBatch"));
        // Mounted, but not in the table.
        assert!(!may("spiffe://ours/hashmesh/gateway", "New"));
        let status = policy().check(&format!("/{QUEUE}/GetQueueStats"), &Identity::default()).unwrap_err();
        assert_eq!((status.code(), reason(&status)), (Code::PermissionDenied, Some(Reason::RoleNotAllowed)));
    }

    #[test]
    fn health_needs_no_role_and_what_is_not_served_is_answered_as_such() {
        for path in ["/grpc.health.v1.Health/Check", "/no.Such/Method", "/", ""] {
            assert!(policy().check(path, &Identity::default()).is_ok(), "{path}");
        }
    }

    #[test]
    fn an_inner_service_of_any_trust_domain_administers_nothing() {
        let may = |caller: &Identity| policy().check("/hashmesh.admin.v1.AdminService/CreateKey", caller).is_ok();
        for role in ["worker", "hash", "queue", "cache"] {
            for domain in ["ours", "theirs"] {
                assert!(!may(&caller(&format!("spiffe://{domain}/hashmesh/{role}"))), "{domain} {role}");
            }
        }
        // Keys decide.
        assert!(may(&Identity::default()) && may(&caller("spiffe://ours/hashmesh/gateway")));
        assert!(may(&caller("https://ours/a-person")));
    }
}
