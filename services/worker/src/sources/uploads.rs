//! Uploads: objects in the mesh's own store, read part by part as they were put there.

use std::time::Duration;

use hashmesh::{
    error::TaskReason,
    queue::v1::UploadLayout,
    tasks::{AllowedSource, upload_name},
    v1::{ByteRange, ObjectIdentity},
};
use hashmesh_hash::HashPool;
use hashmesh_runtime::telemetry::{self, Repeated};
use hashmesh_uploads::{PartRange, StoreError, UploadKey, UploadPlace, UploadStore, parts};
use tokio::time::timeout;

use super::{Failure, Progress, Read, ReadError, Wanted, remote::Feed};

/// Tasks that fail because of the store: all that read it, once it does.
static DAMAGED: Repeated = Repeated::new();
static UNREADABLE: Repeated = Repeated::new();

/// What the queue is told.
pub(super) const ANNOUNCED: &str = "upload://";

/// Reads uploads.
#[derive(Debug)]
pub(super) struct Uploads {
    store: UploadStore,
    /// Where it is. Nothing of it is read by another URI than that of an upload, which tells whose it is.
    place: Option<AllowedSource>,
    pool: HashPool,
    /// A store that sends nothing for so long is given up.
    stall: Duration,
    /// An upload whose reading takes longer is given up.
    total: Duration,
}

impl Uploads {
    pub(super) fn new(store: UploadStore, pool: HashPool, stall: Duration, total: Duration) -> Self {
        let place = match store.place() {
            UploadPlace::Directory(path) => Some(AllowedSource::Directory(path.clone())),
            bucket @ UploadPlace::Bucket { .. } => AllowedSource::of_uri(&bucket.to_string()).ok(),
        };
        Self { store, place, pool, stall, total }
    }

    /// True for the URI of a file or object that belongs to the store.
    pub(super) fn hold(&self, uri: &[u8]) -> bool {
        self.place.as_ref().is_some_and(|place| place.covers(uri))
    }

    /// Reads what is wanted of an upload, once, and appends its digests to `digests`. On an error `digests` is as it was.
    pub(super) async fn digest(
        &self,
        wanted: Wanted<'_>,
        digests: &mut Vec<u8>,
        progress: &(dyn Progress + Sync),
    ) -> Result<Read, ReadError> {
        let Wanted { uri, range, algorithms, .. } = wanted;
        let name = upload_name(uri).ok_or_else(|| ReadError::Failed(Failure::cannot_reach()))?;
        let key = UploadKey { tenant: name.tenant.to_owned(), upload_id: name.upload_id.to_owned() };
        let mut feed = Feed::new(&self.pool, algorithms);
        let read = match timeout(self.total, self.read(&key, range, &mut feed, progress)).await {
            Ok(read) => read?,
            Err(_) => {
                let message = format!("reading the upload took longer than {} s", self.total.as_secs());
                return Err(ReadError::Failed(Failure::retryable(TaskReason::SourceTimedOut, message)));
            }
        };
        feed.finish(digests).await.map_err(ReadError::Failed)?;
        Ok(read)
    }

    async fn read(
        &self,
        key: &UploadKey,
        range: Option<ByteRange>,
        feed: &mut Feed<'_>,
        progress: &(dyn Progress + Sync),
    ) -> Result<Read, ReadError> {
        let layout = self.within(self.store.layout(key)).await.map_err(|error| failed(&error))?;
        let wanted = wanted(&layout, range)?;
        for part in parts(&layout, wanted.clone()) {
            if let Err(error) = self.read_part(key, &part, feed, progress).await? {
                // Deleted meanwhile, or is only a part gone?
                let gone = matches!(self.within(self.store.layout(key)).await, Err(StoreError::NotFound));
                return Err(if gone { failed(&StoreError::NotFound) } else { failed_part(&error) });
            }
        }
        let identity = ObjectIdentity { size: layout.total_bytes, ..ObjectIdentity::default() };
        Ok(Read { hashed_bytes: wanted.end - wanted.start, identity, state: None })
    }

    /// The inner error is the store's.
    async fn read_part(
        &self,
        key: &UploadKey,
        part: &PartRange,
        feed: &mut Feed<'_>,
        progress: &(dyn Progress + Sync),
    ) -> Result<Result<(), StoreError>, ReadError> {
        let mut reader = match self.within(self.store.read(key, part)).await {
            Ok(reader) => reader,
            Err(error) => return Ok(Err(error)),
        };
        loop {
            match self.within(reader.next()).await {
                Ok(None) => return Ok(Ok(())),
                Ok(Some(piece)) => {
                    if !progress.read(piece.len() as u64) {
                        return Err(ReadError::Cancelled);
                    }
                    feed.put(piece).await.map_err(ReadError::Failed)?;
                }
                Err(error) => return Ok(Err(error)),
            }
        }
    }

    async fn within<T>(&self, work: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
        timeout(self.stall, work).await.unwrap_or(Err(StoreError::Silent))
    }
}

/// The bytes that are asked for.
fn wanted(layout: &UploadLayout, range: Option<ByteRange>) -> Result<std::ops::Range<u64>, ReadError> {
    let ByteRange { offset, length } = range.unwrap_or_default();
    let end = if length == 0 { Some(layout.total_bytes) } else { offset.checked_add(length) };
    match end {
        Some(end) if offset <= end && end <= layout.total_bytes => Ok(offset..end),
        _ => {
            let message = format!("the task asks for bytes that are not there: the upload has {}", layout.total_bytes);
            Err(ReadError::Failed(Failure::permanent(TaskReason::SourceTooShort, message)))
        }
    }
}

fn failed(error: &StoreError) -> ReadError {
    ReadError::Failed(match error {
        StoreError::NotFound => {
            let message = "no such upload: it is not complete, or was deleted";
            Failure::permanent(TaskReason::SourceNotFound, message)
        }
        StoreError::Damaged(what) => {
            if let Some(left_out) = DAMAGED.failed() {
                tracing::error!(what, left_out, "the store of uploads is damaged");
            }
            Failure::permanent(TaskReason::SourceUnreadable, format!("the store of uploads is damaged: {what}"))
        }
        StoreError::Silent => {
            Failure::retryable(TaskReason::SourceTimedOut, "the store of uploads does not answer in time")
        }
        StoreError::Failed { .. } => {
            if let Some(left_out) = UNREADABLE.failed() {
                tracing::warn!(error = telemetry::chain(error), left_out, "an upload cannot be read");
            }
            Failure::retryable(TaskReason::SourceUnreadable, "the store of uploads does not answer as it should")
        }
    })
}

/// A part that ought to be there.
fn failed_part(error: &StoreError) -> ReadError {
    match error {
        StoreError::NotFound => failed(&StoreError::Damaged("a part is missing")),
        error => failed(error),
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use hashmesh::{
        queue::v1::UploadRun,
        tasks::{file_uri, upload_uri},
        v1::Algorithm,
    };
    use hashmesh_hash::{PoolLimits, Recipe, digest_into};
    use hashmesh_uploads::{S3Access, UploadPlace};

    use super::*;

    const ID: &str = "0123456789abcdef0123456789abcdef";

    struct Any;

    impl Progress for Any {
        fn read(&self, _: u64) -> bool {
            true
        }
    }

    struct Fixture {
        directory: tempfile::TempDir,
        uploads: Uploads,
        object: Vec<u8>,
        algorithms: Recipe,
    }

    impl Fixture {
        /// An upload of 2.5 MB in parts of 1 MB.
        async fn new() -> Self {
            let directory = tempfile::tempdir().unwrap();
            let place = UploadPlace::Directory(directory.path().to_owned());
            let store = UploadStore::open(&place, &S3Access::default()).unwrap();
            let pool = HashPool::new("uploads", 2, PoolLimits::new(2, 1 << 20)).unwrap();
            let second = Duration::from_secs(1);
            let uploads = Uploads::new(store, pool, 10 * second, 60 * second);
            let object: Vec<u8> = (0..2_500_000_u32).map(|place| (place % 241) as u8).collect();
            let key = UploadKey { tenant: "a".to_owned(), upload_id: ID.to_owned() };
            for (number, part) in object.chunks(1_000_000).enumerate() {
                let pieces = vec![Bytes::copy_from_slice(part)];
                uploads.store.put_part(&key, 1, number as u32, pieces).await.unwrap();
            }
            let runs = vec![UploadRun { writer: 1, bytes: 2_500_000 }];
            let layout = UploadLayout { total_bytes: 2_500_000, part_bytes: 1_000_000, runs };
            uploads.store.put_layout(&key, &layout).await.unwrap();
            let algorithms = Recipe::new([Algorithm::Sha256, Algorithm::Blake3], 0).unwrap();
            Self { directory, uploads, object, algorithms }
        }

        async fn digest(&self, range: Option<ByteRange>) -> Result<(Vec<u8>, Read), ReadError> {
            let uri = upload_uri("a", ID);
            let mut digests = Vec::new();
            let wanted = Wanted {
                uri: uri.as_bytes(),
                range,
                algorithms: &self.algorithms,
                allowed: None,
                known: None,
                listed: None,
                keeps: false,
            };
            let read = self.uploads.digest(wanted, &mut digests, &Any).await?;
            Ok((digests, read))
        }

        async fn reason(&self, range: Option<ByteRange>) -> (&'static str, bool) {
            match self.digest(range).await {
                Err(ReadError::Failed(failure)) => (failure.reason, failure.retryable),
                other => panic!("{other:?}"),
            }
        }
    }

    #[tokio::test]
    async fn the_whole_and_every_range_are_digested_and_what_is_not_there_is_refused() {
        let fixture = Fixture::new().await;
        for (range, bytes) in [
            (None, 0..2_500_000),
            (Some(ByteRange { offset: 999_999, length: 2 }), 999_999..1_000_001),
            (Some(ByteRange { offset: 1, length: 2_499_999 }), 1..2_500_000),
            (Some(ByteRange { offset: 2_400_000, length: 0 }), 2_400_000..2_500_000),
            (Some(ByteRange { offset: 2_500_000, length: 0 }), 2_500_000..2_500_000),
        ] {
            let mut wanted = Vec::new();
            digest_into(&fixture.algorithms, &fixture.object[bytes.clone()], &mut wanted);
            let (digests, read) = fixture.digest(range).await.unwrap();
            assert_eq!((digests, read.hashed_bytes), (wanted, bytes.len() as u64), "{range:?}");
            assert_eq!(read.identity.size, 2_500_000);
        }
        for (offset, length) in [(2_500_001, 0), (2_500_000, 1), (0, 2_500_001), (u64::MAX, 2)] {
            let range = Some(ByteRange { offset, length });
            assert_eq!(fixture.reason(range).await, ("SOURCE_TOO_SHORT", false), "{range:?}");
        }
    }

    #[test]
    fn what_belongs_to_the_store_is_known_by_its_place_however_that_is_written() {
        let directory = tempfile::tempdir().unwrap();
        let pool = || HashPool::new("uploads", 1, PoolLimits::new(1, 1 << 20)).unwrap();
        let open = |place: UploadPlace| {
            let store = UploadStore::open(&place, &S3Access::default()).unwrap();
            Uploads::new(store, pool(), Duration::from_secs(1), Duration::from_secs(1))
        };
        let store = open(UploadPlace::Directory(directory.path().join("a/uploads")));
        let canonical = directory.path().canonicalize().unwrap();
        for (below, held) in [("a/uploads/t/x", true), ("a//./uploads/x", true), ("a/uploadsx", false), ("a/x", false)]
        {
            let uri = file_uri(canonical.join(below).as_os_str().as_encoded_bytes());
            assert_eq!(store.hold(uri.as_bytes()), held, "{below}");
        }
        let store = open(UploadPlace::Bucket { bucket: "bucket".to_owned(), prefix: "up".to_owned() });
        for (uri, held) in [
            ("s3://bucket/up/t/x", true),
            ("s3://bucket/%75p/x", true),
            ("s3://bucket/u/x", false),
            ("s3://other/up/x", false),
            ("upload://t/0123456789abcdef0123456789abcdef", false),
        ] {
            assert_eq!(store.hold(uri.as_bytes()), held, "{uri}");
        }
    }

    #[tokio::test]
    async fn promise_7_a_part_that_is_short_or_missing_is_an_error_and_never_a_digest() {
        let fixture = Fixture::new().await;
        let part = fixture.directory.path().join("a").join(ID).join("00000001-00000001");
        std::fs::File::options().write(true).open(&part).unwrap().set_len(999_999).unwrap();
        assert_eq!(fixture.reason(None).await, ("SOURCE_UNREADABLE", false));
        std::fs::remove_file(&part).unwrap();
        assert_eq!(fixture.reason(None).await, ("SOURCE_UNREADABLE", false));
        std::fs::write(part.with_file_name("layout"), b"\xff\xff").unwrap();
        assert_eq!(fixture.reason(None).await, ("SOURCE_UNREADABLE", false));
        std::fs::remove_file(part.with_file_name("layout")).unwrap();
        assert_eq!(fixture.reason(None).await, ("SOURCE_NOT_FOUND", false));
    }
}
