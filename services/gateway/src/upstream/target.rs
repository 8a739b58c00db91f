//! One process of a service, by its URL.

use std::sync::Arc;

use hashmesh_middleware::breaker::BreakerConfig;
use hashmesh_runtime::{
    channel::{self, Breaker, ChannelError, Dialer, Guarded},
    probe,
};
use tonic::Status;

use super::connections::{Connections, READ_EACH, STREAMS_EACH, StreamSlot};
use crate::error;

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

/// The one after `from` in a ring of them, or the first if `from` is none of them. `None`: there is no other.
pub(super) fn after(ring: &[Arc<Target>], from: &Arc<Target>) -> Option<Arc<Target>> {
    let place = ring.iter().position(|target| Arc::ptr_eq(target, from));
    let next = ring.get(place.map_or(0, |place| (place + 1) % ring.len()))?;
    (!Arc::ptr_eq(next, from)).then(|| Arc::clone(next))
}

impl Target {
    pub(super) fn new(url: &str, dialer: &Dialer, breaker: BreakerConfig) -> Result<Arc<Self>, ChannelError> {
        let url = url.trim_end_matches('/');
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

    /// Without a slash at its end.
    pub(super) fn url(&self) -> &str {
        &self.url
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

    /// Opens a stream, on a connection that few others share.
    pub(super) fn open<T, F, O>(
        &self,
        pace: Pace,
        open: &mut O,
    ) -> impl Future<Output = Result<(T, StreamSlot), Status>> + use<T, F, O>
    where
        O: FnMut(Guarded) -> F,
        F: Future<Output = Result<T, Status>>,
    {
        let opening = self.stream_slot(pace).map(|slot| (open(slot.channel()), slot));
        async move {
            let (opening, slot) = opening.map_err(|error| {
                tracing::error!(%error, "a usable URL became unusable");
                error::internal()
            })?;
            Ok((opening.await?, slot))
        }
    }

    fn stream_slot(&self, pace: Pace) -> Result<StreamSlot, ChannelError> {
        let connections = match pace {
            Pace::Client => &self.streams,
            Pace::Always => &self.read_streams,
        };
        connections.slot(|| Ok(channel::guarded(self.dialer.service(), self.dialer.channel(&self.url)?, &self.breaker)))
    }
}
