//! What a Gateway must be told.

use crate::Auth;

/// Where a Gateway finds the services behind it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GatewayConfig {
    /// The Queue's URLs, `http://HOST:PORT`. At least one. Of several, the one that owns the queue is found and kept to.
    pub queue: Vec<String>,
    /// The Hash service's URLs. At least one. Of several, one that answers is kept to.
    pub hash: Vec<String>,
    /// Whether callers need a key.
    pub auth: Auth,
}
