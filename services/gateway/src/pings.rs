//! Pings within a stream, and noticing that a client which promised to answer them does not.

use hashmesh::{
    error::{Reason, StatusBuilder},
    limits::{PING_INTERVAL, PONG_TIMEOUT},
    v1::Ping,
};
use tokio::{
    sync::watch,
    time::{Instant, MissedTickBehavior, interval_at, sleep_until},
};
use tonic::Status;

use crate::outbound::{End, Outbound};

/// Sends a ping every [`PING_INTERVAL`]; ends only when the client is gone.
pub(crate) async fn ping<T>(outbound: &Outbound<T>, frame: fn(Ping) -> T, liveness: Option<&Liveness>) -> End {
    let mut timer = interval_at(Instant::now() + PING_INTERVAL, PING_INTERVAL);
    timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut number = 0;
    loop {
        timer.tick().await;
        number += 1;
        // Before it is sent: a client that reads nothing is as silent as one that answers nothing.
        if let Some(liveness) = liveness {
            liveness.pinged();
        }
        if let Err(end) = outbound.send(frame(Ping { number })).await {
            return end;
        }
    }
}

/// When a client was last known to live.
#[derive(Debug)]
pub(crate) struct Liveness {
    /// Set while a ping is unanswered: since when nothing was heard.
    silent_since: watch::Sender<Option<Instant>>,
}

impl Liveness {
    /// A client that was just heard.
    pub(crate) fn new() -> Self {
        Self { silent_since: watch::Sender::new(None) }
    }

    /// A ping is on its way.
    fn pinged(&self) {
        self.silent_since.send_if_modified(|since| {
            let first = since.is_none();
            if first {
                *since = Some(Instant::now());
            }
            first
        });
    }

    /// The client sent something, whatever it was.
    pub(crate) fn heard(&self) {
        self.silent_since.send_if_modified(|since| since.take().is_some());
    }

    /// The client read something: its answer may wait behind what it still reads.
    pub(crate) fn read(&self) {
        self.silent_since.send_if_modified(|since| {
            let waiting = since.is_some();
            if waiting {
                *since = Some(Instant::now());
            }
            waiting
        });
    }

    /// Waits until nothing was heard for [`PONG_TIMEOUT`] after a ping.
    pub(crate) async fn silent(&self) -> Status {
        let mut changes = self.silent_since.subscribe();
        loop {
            let since = *changes.borrow_and_update();
            let expired = async {
                match since {
                    Some(since) => sleep_until(since + PONG_TIMEOUT).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = expired => break,
                // Cannot fail: `self` has the sender.
                _ = changes.changed() => {}
            }
        }
        let seconds = PONG_TIMEOUT.as_secs();
        let message = format!("no answer to a ping for {seconds} s, although `answers_pings` was set; open again");
        StatusBuilder::new(Reason::PeerSilent, message).build()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    async fn silent_within(liveness: &Liveness, seconds: u64) -> bool {
        tokio::time::timeout(Duration::from_secs(seconds), liveness.silent()).await.is_ok()
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_is_silent_15_seconds_after_a_ping_and_never_without_one() {
        let liveness = Liveness::new();
        assert!(!silent_within(&liveness, 3_600).await);
        liveness.pinged();
        assert!(!silent_within(&liveness, 14).await);
        assert!(silent_within(&liveness, 2).await);
    }

    #[tokio::test(start_paused = true)]
    async fn whatever_a_client_sends_proves_that_it_lives() {
        let liveness = Liveness::new();
        liveness.pinged();
        assert!(!silent_within(&liveness, 14).await);
        liveness.heard();
        assert!(!silent_within(&liveness, 3_600).await);
        liveness.pinged();
        assert!(silent_within(&liveness, 16).await);
    }

    #[tokio::test(start_paused = true)]
    async fn reading_postpones_the_verdict_and_a_second_ping_does_not() {
        let liveness = Liveness::new();
        liveness.pinged();
        assert!(!silent_within(&liveness, 14).await);
        liveness.pinged();
        liveness.read();
        assert!(!silent_within(&liveness, 14).await);
        liveness.pinged();
        assert!(silent_within(&liveness, 2).await);
    }
}
