//! One process of a service, by its URL.

use std::sync::Arc;

use hashmesh_runtime::channel::{self, ChannelError};
use tonic::transport::Channel;

use super::connections::{Connections, StreamSlot};

/// A process of a service: one connection for all unary calls, and those of its streams.
#[derive(Debug)]
pub(super) struct Target {
    url: String,
    shared: Channel,
    streams: Connections,
}

impl Target {
    pub(super) fn new(url: &str) -> Result<Arc<Self>, ChannelError> {
        let shared = channel::lazy(url)?;
        Ok(Arc::new(Self { url: url.to_owned(), shared, streams: Connections::default() }))
    }

    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// True if this URL leads to the same process.
    pub(super) fn same(&self, url: &str) -> bool {
        self.url.trim_end_matches('/') == url.trim_end_matches('/')
    }

    pub(super) fn shared(&self) -> Channel {
        self.shared.clone()
    }

    pub(super) fn stream_slot(&self) -> Result<StreamSlot, ChannelError> {
        self.streams.slot(|| channel::lazy(&self.url))
    }
}
