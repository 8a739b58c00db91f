//! From the network to the digests: pieces are hashed on the pool while the next ones come in, and never copied.

use std::task::Poll;

use bytes::Bytes;
use futures::{FutureExt as _, future::BoxFuture};
use hashmesh_hash::{HashError, HashPool, MultiHasher, Recipe};

use super::ask::Trouble;
use crate::sources::Failure;

/// So much is gathered before it goes to the pool: a trip there costs some 10 µs.
pub(crate) const GATHERED_BYTES: usize = 256 * 1024;

/// At most this is hashed right here, times the number of algorithms: some 50 µs, and never near the 0.5 ms that the async
/// threads may be kept.
const HERE_BYTES: usize = 64 * 1024;

/// Where an object's bytes go.
pub(super) trait Sink {
    /// Takes the next ones.
    fn put(&mut self, piece: Bytes) -> impl Future<Output = Result<(), Trouble>> + Send;
}

impl Sink for Feed<'_> {
    async fn put(&mut self, piece: Bytes) -> Result<(), Trouble> {
        Ok(Feed::put(self, piece).await?)
    }
}

/// Hashes one object. Holds two times [`GATHERED_BYTES`] and a piece at most.
pub(in crate::sources) struct Feed<'a> {
    pool: &'a HashPool,
    algorithms: &'a Recipe,
    /// Not there while the pool has it.
    hasher: Option<MultiHasher>,
    gathered: Vec<Bytes>,
    gathered_bytes: usize,
    hashing: Option<BoxFuture<'static, Result<MultiHasher, HashError>>>,
}

impl<'a> Feed<'a> {
    pub(in crate::sources) fn new(pool: &'a HashPool, algorithms: &'a Recipe) -> Self {
        let hasher = Some(MultiHasher::new(algorithms));
        Self { pool, algorithms, hasher, gathered: Vec::new(), gathered_bytes: 0, hashing: None }
    }

    /// The object's next bytes.
    pub(in crate::sources) async fn put(&mut self, piece: Bytes) -> Result<(), Failure> {
        self.gathered_bytes += piece.len();
        self.gathered.push(piece);
        if self.gathered_bytes >= GATHERED_BYTES { self.hand_over().await } else { Ok(()) }
    }

    /// Appends the digests.
    pub(in crate::sources) async fn finish(mut self, digests: &mut Vec<u8>) -> Result<(), Failure> {
        if self.hashing.is_none() && self.gathered_bytes * self.algorithms.len() <= HERE_BYTES {
            let Some(mut hasher) = self.hasher.take() else { return Err(Failure::panicked()) };
            self.gathered.iter().for_each(|piece| hasher.update(piece));
            hasher.finalize_into(digests);
            return Ok(());
        }
        self.hand_over().await?;
        self.back().await?.finalize_into(digests);
        Ok(())
    }

    /// Has the pool hash what was gathered, once it is through with what came before.
    async fn hand_over(&mut self) -> Result<(), Failure> {
        let mut hasher = self.back().await?;
        let (pieces, bytes) = (std::mem::take(&mut self.gathered), std::mem::take(&mut self.gathered_bytes));
        let pool = self.pool.clone();
        let hashing = async move {
            let work = move || {
                pieces.iter().for_each(|piece| hasher.update(piece));
                hasher
            };
            pool.run(bytes, work).await
        };
        let mut hashing = hashing.boxed();
        // Where there is room the pool begins at once; what it says is heard at the next turn.
        match futures::poll!(&mut hashing) {
            Poll::Ready(hashed) => self.hasher = Some(hashed.map_err(|_| Failure::panicked())?),
            Poll::Pending => self.hashing = Some(hashing),
        }
        Ok(())
    }

    async fn back(&mut self) -> Result<MultiHasher, Failure> {
        match self.hashing.take() {
            Some(hashing) => hashing.await.map_err(|_| Failure::panicked()),
            None => self.hasher.take().ok_or_else(Failure::panicked),
        }
    }
}

#[cfg(test)]
mod tests {
    use hashmesh::v1::Algorithm;
    use hashmesh_hash::{PoolLimits, digest_into};

    use super::*;

    #[tokio::test]
    async fn pieces_of_any_size_give_the_digests_of_the_whole() {
        let pool = HashPool::new("feed", 2, PoolLimits::new(2, 1 << 20)).unwrap();
        let algorithms = Recipe::new([Algorithm::Sha256, Algorithm::Blake3, Algorithm::Md5], 0).unwrap();
        for (length, piece) in [
            (0, 1),
            (1, 1),
            (1_000, 7),
            (HERE_BYTES / 3, 4_096),
            (HERE_BYTES / 3 + 1, 4_096),
            (GATHERED_BYTES, 1_000),
            (5 * GATHERED_BYTES + 3, 16_384),
            (3 * GATHERED_BYTES, 2 * GATHERED_BYTES),
        ] {
            let object: Vec<u8> = (0..length).map(|place| (place % 251) as u8).collect();
            let mut feed = Feed::new(&pool, &algorithms);
            for piece in object.chunks(piece) {
                feed.put(Bytes::copy_from_slice(piece)).await.unwrap();
                assert!(feed.gathered_bytes < GATHERED_BYTES);
            }
            let (mut digests, mut wanted) = (Vec::new(), Vec::new());
            feed.finish(&mut digests).await.unwrap();
            digest_into(&algorithms, &object, &mut wanted);
            assert_eq!(digests, wanted, "{length} in pieces of {piece}");
        }
    }
}
