//! Who calls, and what they may: every call of a service that is mounted behind [`Authenticated`] has a [`Caller`].

mod keyring;
mod layer;
mod scopes;

use std::{sync::Arc, time::Duration};

use hashmesh::{
    error::{Reason, StatusBuilder},
    keys::{HEADER, KeyText},
    tasks::AllowedSources,
    v1::Scope,
};
use hashmesh_runtime::metrics::catalogue::gateway::REFUSED_CALLERS;
use tonic::{Status, codegen::http::HeaderMap};

pub(crate) use self::layer::Authenticated;
use self::{
    keyring::{Keyring, Known},
    scopes::Scopes,
};
use crate::{error, reads::Reads, upstream::QueueUpstream};

/// Whose everything is where keys are not checked.
const DEFAULT_TENANT: &str = "default";
/// How often a stream's key is looked at again. With what the keyring remembers, below 5 s.
const LOOK_AGAIN_AFTER: Duration = Duration::from_secs(2);

/// Whether callers need a key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Auth {
    /// No: everybody is tenant `default` and may do everything but administer keys, of which there are none.
    #[default]
    Off,
    /// Yes.
    Keys,
}

/// Tells who calls. Clones share what is known of keys.
#[derive(Clone, Debug)]
pub(crate) enum Authenticator {
    /// Everybody is this one.
    Off(Caller),
    Keys(Arc<Keyring>),
}

/// Who calls.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    tenant: Arc<str>,
    scopes: Scopes,
    /// What it showed, and who can say whether that still holds.
    key: Option<(KeyText, Arc<Keyring>)>,
    /// Of its key alone.
    calls_per_minute: Option<u32>,
    /// What its tasks may name. `None`: whatever workers may read.
    allowed: Option<AllowedSources>,
}

impl Authenticator {
    pub(crate) fn new(auth: Auth, queue: &Arc<QueueUpstream>) -> Self {
        match auth {
            Auth::Off => Self::Off(Caller {
                tenant: DEFAULT_TENANT.into(),
                scopes: Scopes::ALL,
                key: None,
                calls_per_minute: None,
                allowed: None,
            }),
            Auth::Keys => Self::Keys(Arc::new(Keyring::new(Arc::clone(queue)))),
        }
    }

    /// Tells the tables now and then which keys are in use; ends never.
    pub(crate) async fn note_uses(self) {
        match self {
            Self::Keys(keyring) => keyring.note_uses().await,
            Self::Off(_) => std::future::pending().await,
        }
    }

    /// The caller of a method, if it may call that.
    async fn authenticate(&self, path: &str, headers: &HeaderMap) -> Result<Caller, Status> {
        let keyring = match self {
            Self::Off(everybody) => return Ok(everybody.clone()),
            Self::Keys(keyring) => keyring,
        };
        let key = presented(headers)?;
        let Some(Known { tenant, scopes, calls_per_minute, allowed, .. }) = keyring.find(&key).await? else {
            return Err(refused());
        };
        keyring.used(&key);
        let (key, allowed) = (Some((key, Arc::clone(keyring))), Some(allowed));
        let caller = Caller { tenant, scopes, key, calls_per_minute, allowed };
        if let Some(scope) = scopes::needed(path) {
            caller.require(scope)?;
        }
        Ok(caller)
    }
}

impl Caller {
    /// Whose submissions it sees and makes.
    pub(crate) fn tenant(&self) -> String {
        self.tenant.as_ref().to_owned()
    }

    /// The same, shared.
    pub(crate) fn shared_tenant(&self) -> Arc<str> {
        Arc::clone(&self.tenant)
    }

    /// What its tasks may name.
    pub(crate) fn reads(&self) -> Reads {
        Reads::new(self.shared_tenant(), self.allowed.clone())
    }

    /// Who it is, for the audit trail.
    pub(crate) fn actor(&self) -> String {
        self.key.as_ref().map_or_else(String::new, |(key, _)| key.id().to_owned())
    }

    /// Its key's id, and the calls a minute that were said of this key alone.
    pub(crate) fn key_limit(&self) -> Option<(&str, Option<u32>)> {
        self.key.as_ref().map(|(key, _)| (key.id(), self.calls_per_minute))
    }

    /// Refuses what the caller's key is not for.
    pub(crate) fn require(&self, scope: Scope) -> Result<(), Status> {
        if self.scopes.contains(scope) {
            return Ok(());
        }
        let name = scope.name();
        let message = format!("the API key lacks the scope {name:?}, which this call needs; ask for a key that has it");
        Err(StatusBuilder::new(Reason::ScopeMissing, message).metadata("scope", name).build())
    }

    /// Ends when the key is no longer accepted, within 5 s; for streams, which outlast their first check.
    pub(crate) async fn turned_away(&self) -> Status {
        let Some((key, keyring)) = &self.key else { return std::future::pending().await };
        loop {
            tokio::time::sleep(LOOK_AGAIN_AFTER).await;
            // Who cannot be asked says nothing against the key; what it was opened for is not served either then.
            if let Ok(None) = keyring.find(key).await {
                REFUSED_CALLERS.add(1, &["unauthenticated"]);
                return refused();
            }
        }
    }
}

/// The key that a call came with.
fn presented(headers: &HeaderMap) -> Result<KeyText, Status> {
    let wanted = "send an API key as `authorization: Bearer hm_…`";
    let Some(value) = headers.get(HEADER) else {
        let message = format!("this mesh wants to know who calls: {wanted}");
        return Err(StatusBuilder::new(Reason::KeyMissing, message).build());
    };
    let text = value.to_str().ok().and_then(|value| {
        let (scheme, text) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| text.trim())
    });
    let text = text.ok_or_else(|| invalid(&format!("`{HEADER}` holds no bearer token: {wanted}")))?;
    KeyText::parse(text).map_err(|error| invalid(&error.to_string()))
}

/// The same whether it is unknown, revoked or expired: nobody learns which keys there are.
fn refused() -> Status {
    invalid("the API key is unknown, revoked or expired; ask for another")
}

fn invalid(message: &str) -> Status {
    StatusBuilder::new(Reason::KeyInvalid, message).build()
}

/// The caller of a request that came through [`Authenticated`].
pub(crate) fn caller<T>(request: &tonic::Request<T>) -> Result<Caller, Status> {
    request.extensions().get::<Caller>().cloned().ok_or_else(|| {
        tracing::error!("a call reached its handler without a caller");
        error::internal()
    })
}

#[cfg(test)]
mod tests {
    use hashmesh::error::reason;

    use super::*;

    fn with(value: &str) -> HeaderMap {
        HeaderMap::from_iter([(HEADER.parse().unwrap(), value.parse().unwrap())])
    }

    #[test]
    fn a_key_is_taken_from_a_bearer_token_and_nothing_else() {
        let key = KeyText::mint();
        for scheme in ["Bearer", "bearer", "BEARER"] {
            assert_eq!(presented(&with(&format!("{scheme} {}", key.reveal()))).unwrap(), key);
        }
        assert_eq!(reason(&presented(&HeaderMap::new()).unwrap_err()), Some(Reason::KeyMissing));
        for value in [key.reveal(), "Basic aGVsbG8=", "Bearer", "Bearer ", "Bearer hm_"] {
            let status = presented(&with(value)).unwrap_err();
            assert_eq!(reason(&status), Some(Reason::KeyInvalid), "{value:?}");
            assert!(!format!("{status:?}").contains(&key.reveal()[20..40]), "an error must not repeat a secret");
        }
    }

    #[test]
    fn a_caller_without_a_scope_is_told_which() {
        let scopes = Scopes::of(&[Scope::Read.into()]);
        let caller = Caller { tenant: "t".into(), scopes, key: None, calls_per_minute: None, allowed: None };
        assert!(caller.require(Scope::Read).is_ok());
        let status = caller.require(Scope::Admin).unwrap_err();
        assert_eq!(status.code(), tonic::Code::PermissionDenied);
        assert_eq!(reason(&status), Some(Reason::ScopeMissing));
    }
}
