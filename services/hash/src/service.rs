//! The RPCs: decode, hash on the pool, encode.

use std::sync::Arc;

use hashmesh::{
    error::{Reason, StatusBuilder, bad_field, reason},
    hash::v1::{
        ComputeDigestRequest, ComputeDigestResponse, ComputeDigestStreamRequest, ComputeDigestStreamResponse,
        hash_service_server::HashService,
    },
    v1::{Algorithm, Digest},
};
use hashmesh_runtime::{
    flights::{Begun, Flights, Input},
    metrics::catalogue::hash::{BYTES, SHED},
};
use tokio::sync::Semaphore;
use tokio_stream::{Stream, StreamExt as _};
use tonic::{Request, Response, Status, Streaming};

use crate::{HashError, HashPool, HashStats, MultiHasher, Recipe, digest_into, validate};

/// Digests without a queue.
#[derive(Debug)]
pub(crate) struct Service {
    pool: HashPool,
    streams: Arc<Semaphore>,
    /// Inputs that are being hashed.
    flights: Flights<Asked, Result<ComputeDigestResponse, Status>>,
    stats: HashStats,
}

/// What makes two calls equal.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Asked {
    algorithms: Vec<i32>,
    part_bytes: u64,
    data: Input,
}

/// Smaller inputs are hashed where they came in, sooner than a thread could be woken, or anybody be found who has the same: 8 digests
/// take 0.1 ms at most.
const SMALL_BYTES: usize = 4 * 1_024;

impl Service {
    /// Hashes on `pool`; serves at most `max_streams` streamed inputs at once.
    pub(crate) fn new(pool: HashPool, max_streams: usize, stats: HashStats) -> Self {
        let streams = Arc::new(Semaphore::new(max_streams.clamp(1, Semaphore::MAX_PERMITS)));
        Self { pool, streams, flights: Flights::new(), stats }
    }

    /// The digests of an input of one message, once for all who ask for the same at a time.
    async fn digest_whole(&self, request: ComputeDigestRequest) -> Result<ComputeDigestResponse, Status> {
        let ComputeDigestRequest { data, algorithms, part_bytes } = request;
        let recipe = validate::recipe(&algorithms, part_bytes)?;
        validate::data(&data)?;
        if data.len() < SMALL_BYTES {
            return self.digest(data, recipe).await;
        }
        let asked = Asked { algorithms, part_bytes, data: Input(data.clone()) };
        let (begun, answer) = self.flights.run(asked, || self.digest(data, recipe)).await;
        if begun == Begun::Before {
            self.stats.add_joined();
        }
        answer.map_err(|panicked| Status::from(HashError::Panicked { message: panicked.message }))?
    }

    /// The digests of an input that is here as a whole. Needs nothing of the caller, who may go away.
    fn digest(
        &self,
        data: bytes::Bytes,
        recipe: Recipe,
    ) -> impl Future<Output = Result<ComputeDigestResponse, Status>> + Send + 'static + use<> {
        let (pool, stats) = (self.pool.clone(), self.stats.clone());
        async move {
            let (length, hashed_bytes) = (data.len(), data.len() as u64);
            let work = move || {
                stats.add_computed();
                BYTES.add(hashed_bytes, &[]);
                let mut digests = Vec::new();
                digest_into(&recipe, &data, &mut digests);
                rows(&recipe, &digests)
            };
            let digests = if length < SMALL_BYTES { work() } else { pool.run_or_shed(length, work).await? };
            Ok(ComputeDigestResponse { digests, hashed_bytes })
        }
    }

    /// The digests of an input that comes in pieces. Holds one piece, and one buffer of [`GATHERED_BYTES`]: the next piece
    /// is asked for when the last one is hashed, which is what holds the sender back.
    async fn digest_stream(
        &self,
        mut pieces: impl Stream<Item = Result<ComputeDigestStreamRequest, Status>> + Unpin,
    ) -> Result<ComputeDigestStreamResponse, Status> {
        let _stream = self.streams.try_acquire().map_err(|_| {
            StatusBuilder::new(Reason::Overloaded, "too many streamed inputs are under way; try again later")
                .retry_after(STREAM_RETRY_AFTER)
                .build()
        })?;
        let Some(first) = pieces.next().await.transpose()? else {
            return Err(bad_field("algorithms", "the stream ended before its first frame; send at least one frame"));
        };
        let recipe = validate::recipe(&first.algorithms, first.part_bytes)?;
        let mut input = StreamedInput::new(&self.pool, &recipe);
        validate::data(&first.data)?;
        input.push(first.data).await?;
        while let Some(piece) = pieces.next().await.transpose()? {
            if !piece.algorithms.is_empty() {
                return Err(bad_field("algorithms", "may be set in the first frame only"));
            }
            if piece.part_bytes != 0 {
                return Err(bad_field("part_bytes", "may be set in the first frame only"));
            }
            validate::data(&piece.data)?;
            input.push(piece.data).await?;
        }
        let (digests, hashed_bytes) = input.finish().await?;
        self.stats.add_streamed();
        Ok(ComputeDigestStreamResponse { digests: rows(&recipe, &digests), hashed_bytes })
    }
}

/// After which a refused stream is worth another try: streams last seconds.
const STREAM_RETRY_AFTER: std::time::Duration = std::time::Duration::from_secs(1);

#[tonic::async_trait]
impl HashService for Service {
    async fn compute_digest(
        &self,
        request: Request<ComputeDigestRequest>,
    ) -> Result<Response<ComputeDigestResponse>, Status> {
        counted(self.digest_whole(request.into_inner()).await)
    }

    async fn compute_digest_stream(
        &self,
        request: Request<Streaming<ComputeDigestStreamRequest>>,
    ) -> Result<Response<ComputeDigestStreamResponse>, Status> {
        counted(self.digest_stream(request.into_inner()).await)
    }
}

/// An answer, counted if it refuses for want of room.
fn counted<T>(answer: Result<T, Status>) -> Result<Response<T>, Status> {
    if answer.as_ref().is_err_and(|status| reason(status) == Some(Reason::Overloaded)) {
        SHED.add(1, &[]);
    }
    answer.map(Response::new)
}

/// Concatenated digests as messages.
fn rows(algorithms: &[Algorithm], mut digests: &[u8]) -> Vec<Digest> {
    let row = |algorithm: &Algorithm| {
        let (digest, rest) = digests.split_at(algorithm.digest_bytes());
        digests = rest;
        Digest { algorithm: (*algorithm).into(), hex: hex::encode(digest) }
    };
    algorithms.iter().map(row).collect()
}

/// Small pieces are gathered up to this, so that a stream of tiny frames does not pay for a trip to the pool per frame.
const GATHERED_BYTES: usize = 256 * 1024;

/// An input on its way through the pool, its pieces in order.
struct StreamedInput<'a> {
    pool: &'a HashPool,
    hasher: MultiHasher,
    gathered: Vec<u8>,
    hashed_bytes: u64,
}

impl<'a> StreamedInput<'a> {
    fn new(pool: &'a HashPool, recipe: &Recipe) -> Self {
        Self { pool, hasher: MultiHasher::new(recipe), gathered: Vec::new(), hashed_bytes: 0 }
    }

    /// Takes the next piece. Returns when it is hashed, or copied if it is small.
    async fn push(&mut self, piece: bytes::Bytes) -> Result<(), HashError> {
        self.hashed_bytes += piece.len() as u64;
        if self.gathered.len() + piece.len() <= GATHERED_BYTES {
            self.gathered.extend_from_slice(&piece);
            return Ok(());
        }
        let gathered = std::mem::take(&mut self.gathered);
        // The state travels to the pool and back: it is never shared, and a caller that goes away leaves nothing behind.
        let mut hasher = std::mem::take(&mut self.hasher);
        let cost_bytes = gathered.len() + piece.len();
        (self.hasher, self.gathered) = self
            .pool
            .run(cost_bytes, move || {
                hasher.update(&gathered);
                hasher.update(&piece);
                BYTES.add(cost_bytes as u64, &[]);
                let mut emptied = gathered;
                emptied.clear();
                (hasher, emptied)
            })
            .await?;
        Ok(())
    }

    /// Hashes what is left. Returns the digests, concatenated, and the input's length.
    async fn finish(self) -> Result<(Vec<u8>, u64), HashError> {
        let Self { pool, mut hasher, gathered, hashed_bytes } = self;
        let digests = pool
            .run(gathered.len(), move || {
                hasher.update(&gathered);
                BYTES.add(gathered.len() as u64, &[]);
                let mut digests = Vec::new();
                hasher.finalize_into(&mut digests);
                digests
            })
            .await?;
        Ok((digests, hashed_bytes))
    }
}

#[cfg(test)]
mod tests;
