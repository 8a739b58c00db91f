//! Who owns the shards, told to Gateways and Workers.

use std::sync::Arc;

use futures::StreamExt as _;
use hashmesh::queue::v1::WatchShardsResponse;
use tokio_stream::wrappers::WatchStream;

use super::{Frames, Shared};

/// Serves `WatchShards`: every picture as it is seen, until the process stops.
pub(super) fn serve(shared: &Arc<Shared>) -> Frames<WatchShardsResponse> {
    let shutdown = shared.shutdown.clone();
    let pictures = WatchStream::new(shared.picture.clone()).map(|picture| Ok(picture.answer()));
    Box::pin(pictures.take_until(async move { shutdown.wait().await }))
}
