//! One process of a service, by its URL.

use std::sync::Arc;

use hashmesh_middleware::breaker::BreakerConfig;
use hashmesh_runtime::{
    channel::{self, Breaker, ChannelError, Dialer, Guarded},
    probe,
};

use super::connections::{Connections, READ_EACH, STREAMS_EACH, StreamSlot};

/// A process of a service: one connection for all unary calls, and those of its streams, all behind one breaker.
#[derive(Debug)]
pub(super) struct Target {
    url: String,
    dialer: Dialer,
    breaker: Arc<Breaker>,
    shared: Guarded,
    streams: Connections,
    read_streams: Connections,
}

/// How a stream of answers is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pace {
    /// As fast as its client reads, who may stop.
    Client,
    /// At once, always.
    Always,
}

impl Target {
    pub(super) fn new(url: &str, dialer: &Dialer, breaker: BreakerConfig) -> Result<Arc<Self>, ChannelError> {
        let breaker = channel::breaker_with(url, breaker);
        let shared = channel::guarded(dialer.service(), dialer.channel(url)?, &breaker);
        Ok(Arc::new(Self {
            url: url.to_owned(),
            dialer: dialer.clone(),
            breaker,
            shared,
            streams: Connections::new(STREAMS_EACH),
            read_streams: Connections::new(READ_EACH),
        }))
    }

    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// True if this URL leads to the same process.
    pub(super) fn same(&self, url: &str) -> bool {
        self.url.trim_end_matches('/') == url.trim_end_matches('/')
    }

    pub(super) fn shared(&self) -> Guarded {
        self.shared.clone()
    }

    /// Whether there is a process, whatever it says of its work. Asked past the breaker, which may be open because calls fail
    /// that the process itself is waiting with; and on a connection of its own, for another may be broken without having noticed.
    pub(super) async fn answers(&self) -> bool {
        match self.dialer.channel(&self.url) {
            Ok(channel) => probe::answers(channel).await,
            Err(_) => false,
        }
    }

    pub(super) fn stream_slot(&self, pace: Pace) -> Result<StreamSlot, ChannelError> {
        let connections = match pace {
            Pace::Client => &self.streams,
            Pace::Always => &self.read_streams,
        };
        connections.slot(|| Ok(channel::guarded(self.dialer.service(), self.dialer.channel(&self.url)?, &self.breaker)))
    }
}
