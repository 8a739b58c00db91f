//! Whether what this process computes can be believed. A digest that comes out otherwise when it is computed again says that
//! it cannot: no more outcomes may leave, so the process ends at once, and its leases go to others.

use std::sync::OnceLock;

use hashmesh_hash::Untrusted;
use tokio::sync::Notify;

/// Believed until it is lost.
#[derive(Debug, Default)]
pub(crate) struct Trust {
    lost: OnceLock<Untrusted>,
    told: Notify,
}

impl Trust {
    /// The first is what is told of.
    pub(crate) fn lose(&self, untrusted: Untrusted) {
        tracing::error!(error = %untrusted, "a digest is not the same when it is computed again; nothing more may be believed");
        self.lost.get_or_init(|| untrusted);
        self.told.notify_waiters();
    }

    /// Returns when it is lost.
    pub(crate) async fn lost(&self) -> Untrusted {
        loop {
            let told = self.told.notified();
            if let Some(untrusted) = self.lost.get() {
                return untrusted.clone();
            }
            told.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn trust_that_is_lost_is_told_to_who_waits_and_to_who_comes_later() {
        let trust = Trust::default();
        let mut waiting = Box::pin(trust.lost());
        assert!(waiting.as_mut().now_or_never().is_none());
        trust.lose(Untrusted::new("sha256", "none", 3, &[1], &[2]));
        trust.lose(Untrusted::new("sha512", "none", 4, &[1], &[2]));
        for untrusted in [waiting.await, trust.lost().await] {
            assert!(untrusted.to_string().starts_with("the sha256 digest of an input of 3 bytes is 01"), "{untrusted}");
        }
    }
}
