//! What causes calls and batches, for programs that trace (W3C Trace Context). The client makes no spans: it passes on what it
//! is told, and hands out what it is told by the server.

use std::{any::Any, fmt};

use tonic::metadata::{Ascii, MetadataMap, MetadataValue};

/// The key of the metadata.
const KEY: &str = "traceparent";

/// What caused a batch: a span that lasts until the batch is stored, for example.
pub struct BatchTrace {
    traceparent: String,
    /// Dropped once the batch is stored, or given up.
    _held: Box<dyn Any + Send>,
}

impl BatchTrace {
    /// `traceparent` goes with the batch. `held` is dropped when the batch is stored, or when nobody tries to any more; a span
    /// that ends when it is dropped thus measures how long that took.
    pub fn new(traceparent: impl Into<String>, held: impl Send + 'static) -> Self {
        Self { traceparent: traceparent.into(), _held: Box::new(held) }
    }

    pub(super) fn traceparent(&self) -> &str {
        &self.traceparent
    }
}

impl fmt::Debug for BatchTrace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BatchTrace").field("traceparent", &self.traceparent).finish_non_exhaustive()
    }
}

/// What caused the calls of a client.
#[derive(Clone, Debug, Default)]
pub(super) struct CallTrace(Option<MetadataValue<Ascii>>);

impl CallTrace {
    /// One that no header can hold counts as none.
    pub(super) fn new(traceparent: &str) -> Self {
        Self(MetadataValue::try_from(traceparent).ok().filter(|_| !traceparent.is_empty()))
    }

    /// Tells the server. What the call itself says comes first.
    pub(super) fn tell(&self, metadata: &mut MetadataMap) {
        if let Some(traceparent) = &self.0
            && !metadata.contains_key(KEY)
        {
            metadata.insert(KEY, traceparent.clone());
        }
    }
}
