//! The store: parts are put, read and deleted.

use std::{fs, io, path::Path as FilePath, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _};
use hashmesh::queue::v1::UploadLayout;
use object_store::{
    ClientOptions, GetOptions, GetRange, ObjectStore, ObjectStoreExt as _, PutPayload, RetryConfig,
    aws::AmazonS3Builder, local::LocalFileSystem, path::Path,
};
use prost::Message as _;

use crate::{PartRange, PartReader, PlaceError, S3Access, StoreError, UploadPlace, layout};

/// A request of the store, its answer read: 8 MiB at most. Below what a worker may be silent for (60 s).
const REQUEST_TIMEOUT: Duration = Duration::from_secs(40);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A request that the store could not answer is repeated so often, within so long.
const RETRIES: usize = 3;
const RETRY_TIMEOUT: Duration = Duration::from_secs(15);

/// The name of an upload's layout.
const LAYOUT: &str = "layout";

/// Which upload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UploadKey {
    /// Whose: checked where the name was given, `a-z 0-9 - _ .`, never beginning with a `.`.
    pub tenant: String,
    /// Its id: `0-9 a-f`.
    pub upload_id: String,
}

/// A store of uploads. Clones share it.
#[derive(Clone, Debug)]
pub struct UploadStore {
    store: Arc<dyn ObjectStore>,
    /// A directory as it is without links.
    place: UploadPlace,
    /// What all names begin with.
    prefix: String,
}

impl UploadStore {
    /// The store at a place. A directory is made if there is none; a bucket is not asked for anything yet.
    ///
    /// # Errors
    /// [`PlaceError`] for a directory that cannot be used, and settings that cannot work.
    pub fn open(place: &UploadPlace, access: &S3Access) -> Result<Self, PlaceError> {
        match place {
            UploadPlace::Directory(path) => {
                let unusable = |source| PlaceError::Directory { path: path.clone(), source };
                make_private(path).map_err(unusable)?;
                let path = path.canonicalize().map_err(unusable)?;
                let store =
                    LocalFileSystem::new_with_prefix(&path).map_err(|error| unusable(io::Error::other(error)))?;
                Ok(Self { store: Arc::new(store), place: UploadPlace::Directory(path), prefix: String::new() })
            }
            UploadPlace::Bucket { bucket, prefix } => {
                let store = s3(bucket, access).map_err(PlaceError::Bucket)?;
                let place = place.clone();
                let prefix = if prefix.is_empty() { String::new() } else { format!("{prefix}/") };
                Ok(Self { store, place, prefix })
            }
        }
    }

    /// Where it is; a directory by its path without links.
    #[must_use]
    pub fn place(&self) -> &UploadPlace {
        &self.place
    }

    /// Puts part `number` of what `writer` stores. When this returns it is on the disk, or the bucket has it.
    ///
    /// # Errors
    /// [`StoreError`]; then nobody knows whether it is there.
    pub async fn put_part(
        &self,
        key: &UploadKey,
        writer: u32,
        number: u32,
        pieces: Vec<Bytes>,
    ) -> Result<(), StoreError> {
        self.put(&self.part(key, writer, number), pieces.into_iter().collect(), "store a part").await
    }

    /// Puts the layout of an upload that has all its bytes.
    ///
    /// # Errors
    /// As [`UploadStore::put_part`].
    pub async fn put_layout(&self, key: &UploadKey, layout: &UploadLayout) -> Result<(), StoreError> {
        self.put(&self.name(key, LAYOUT), layout.encode_to_vec().into(), "store a layout").await
    }

    /// The layout of a complete upload.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] for one that is not complete, or deleted.
    pub async fn layout(&self, key: &UploadKey) -> Result<UploadLayout, StoreError> {
        let what = "read a layout";
        let found = self.store.get(&self.name(key, LAYOUT)).await.map_err(StoreError::of(what))?;
        let bytes = found.bytes().await.map_err(StoreError::of(what))?;
        let layout = UploadLayout::decode(bytes).ok().filter(layout::valid);
        layout.ok_or(StoreError::Damaged("a layout that cannot be read"))
    }

    /// Begins to read a part.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn read(&self, key: &UploadKey, part: &PartRange) -> Result<PartReader, StoreError> {
        let whole = part.bytes == (0..part.length);
        let range = (!whole).then(|| GetRange::Bounded(part.bytes.clone()));
        let options = GetOptions { range, ..GetOptions::default() };
        let name = self.part(key, part.writer, part.number);
        let found = self.store.get_opts(&name, options).await.map_err(StoreError::of("read a part"))?;
        PartReader::new(part, found)
    }

    /// Deletes the layout, so that nobody begins to read the upload.
    ///
    /// # Errors
    /// [`StoreError`], but not where there is none.
    pub async fn delete_layout(&self, key: &UploadKey) -> Result<(), StoreError> {
        match self.store.delete(&self.name(key, LAYOUT)).await.map_err(StoreError::of("delete a layout")) {
            Err(StoreError::NotFound) => Ok(()),
            other => other,
        }
    }

    /// Deletes all that is there of an upload, what was never finished included.
    ///
    /// # Errors
    /// [`StoreError`], but not where there is nothing.
    pub async fn delete(&self, key: &UploadKey) -> Result<(), StoreError> {
        let what = "delete an upload";
        if let UploadPlace::Directory(directory) = &self.place {
            // What a killed process left half written too, which a listing passes over.
            let path = directory.join(&key.tenant).join(&key.upload_id);
            let removed = tokio::task::spawn_blocking(move || fs::remove_dir_all(path));
            return match removed.await.map_err(|error| StoreError::of(what)(error.into()))? {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(StoreError::io(what, error)),
                _ => Ok(()),
            };
        }
        let prefix = Path::from(format!("{}{}/{}", self.prefix, key.tenant, key.upload_id));
        let names = self.store.list(Some(&prefix)).map_ok(|object| object.location).boxed();
        let deleted = self.store.delete_stream(names).try_for_each(|_| async { Ok(()) }).await;
        match deleted.map_err(StoreError::of(what)) {
            Err(StoreError::NotFound) => Ok(()),
            other => other,
        }
    }

    async fn put(&self, name: &Path, payload: PutPayload, what: &'static str) -> Result<(), StoreError> {
        self.store.put(name, payload).await.map_err(StoreError::of(what))?;
        let UploadPlace::Directory(directory) = &self.place else { return Ok(()) };
        let path = directory.join(name.as_ref());
        let synced = tokio::task::spawn_blocking(move || sync(&path)).await;
        synced.map_err(|error| StoreError::of(what)(error.into()))?.map_err(|error| StoreError::io(what, error))
    }

    fn part(&self, key: &UploadKey, writer: u32, number: u32) -> Path {
        self.name(key, &format!("{writer:08x}-{number:08x}"))
    }

    fn name(&self, key: &UploadKey, last: &str) -> Path {
        Path::from(format!("{}{}/{}/{last}", self.prefix, key.tenant, key.upload_id))
    }
}

/// For this user alone: what is uploaded is nobody else's business on the machine.
fn make_private(path: &FilePath) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Has the disk keep a file and its name.
fn sync(path: &FilePath) -> io::Result<()> {
    fs::File::open(path)?.sync_all()?;
    // The upload's directory, and those above it, which may be new too.
    path.ancestors().skip(1).take(3).try_for_each(|directory| fs::File::open(directory)?.sync_all())
}

fn s3(bucket: &str, access: &S3Access) -> object_store::Result<Arc<dyn ObjectStore>> {
    let client = ClientOptions::new().with_timeout(REQUEST_TIMEOUT).with_connect_timeout(CONNECT_TIMEOUT);
    let retry = RetryConfig { max_retries: RETRIES, retry_timeout: RETRY_TIMEOUT, ..RetryConfig::default() };
    let mut builder = AmazonS3Builder::new()
        .with_bucket_name(bucket)
        .with_region(&access.region)
        .with_client_options(client)
        .with_retry(retry);
    if let Some(endpoint) = &access.endpoint {
        builder =
            builder.with_allow_http(endpoint.starts_with("http://")).with_endpoint(endpoint.trim_end_matches('/'));
    }
    builder = match &access.credentials {
        None => builder.with_skip_signature(true),
        Some((id, secret, token)) => {
            let signed = builder.with_access_key_id(id).with_secret_access_key(secret);
            if let Some(token) = token { signed.with_token(token) } else { signed }
        }
    };
    Ok(Arc::new(builder.build()?))
}

#[cfg(test)]
mod tests {
    use hashmesh::queue::v1::UploadRun;

    use super::*;

    fn key() -> UploadKey {
        UploadKey { tenant: "a.b-c".to_owned(), upload_id: "0123456789abcdef0123456789abcdef".to_owned() }
    }

    async fn read_all(store: &UploadStore, layout: &UploadLayout, range: std::ops::Range<u64>) -> Vec<u8> {
        let mut all = Vec::new();
        for part in layout::parts(layout, range) {
            let mut reader = store.read(&key(), &part).await.unwrap();
            while let Some(piece) = reader.next().await.unwrap() {
                all.extend_from_slice(&piece);
            }
        }
        all
    }

    #[tokio::test]
    async fn what_was_put_in_parts_is_read_as_a_whole_and_in_ranges_until_it_is_deleted() {
        let directory = tempfile::tempdir().unwrap();
        let place = UploadPlace::Directory(directory.path().join("new/store"));
        let store = UploadStore::open(&place, &S3Access::default()).unwrap();
        let object: Vec<u8> = (0..2_000_000_u32).map(|place| (place % 251) as u8).collect();
        let part_bytes = 700_000;
        // A first writer was cut off behind a part and a bit.
        let (head, tail) = object.split_at(900_000);
        for (writer, bytes) in [(1, head), (3, tail)] {
            for (number, part) in bytes.chunks(part_bytes).enumerate() {
                let pieces = part.chunks(100_000).map(Bytes::copy_from_slice).collect();
                store.put_part(&key(), writer, number as u32, pieces).await.unwrap();
            }
        }
        // What a second one left behind counts for nothing.
        store.put_part(&key(), 2, 0, vec![Bytes::from_static(b"late")]).await.unwrap();
        assert!(matches!(store.layout(&key()).await, Err(StoreError::NotFound)));
        let runs = [(1, 900_000), (3, 1_100_000)].map(|(writer, bytes)| UploadRun { writer, bytes });
        let layout = UploadLayout { total_bytes: 2_000_000, part_bytes: part_bytes as u32, runs: runs.into() };
        store.put_layout(&key(), &layout).await.unwrap();
        assert_eq!(store.layout(&key()).await.unwrap(), layout);
        assert_eq!(read_all(&store, &layout, 0..2_000_000).await, object);
        for (start, end) in [(0, 1), (699_999, 700_001), (899_999, 900_001), (1_600_000, 2_000_000), (5, 5)] {
            assert_eq!(read_all(&store, &layout, start..end).await, object[start as usize..end as usize]);
        }

        let short =
            UploadLayout { total_bytes: 900_001, runs: vec![UploadRun { writer: 1, bytes: 900_001 }], ..layout };
        let last = layout::parts(&short, 899_999..900_001).next().unwrap();
        assert!(matches!(store.read(&key(), &last).await, Err(StoreError::Damaged(_))));

        store.delete_layout(&key()).await.unwrap();
        store.delete_layout(&key()).await.unwrap();
        store.delete(&key()).await.unwrap();
        store.delete(&key()).await.unwrap();
        assert!(matches!(store.read(&key(), &last).await, Err(StoreError::NotFound)));
        assert!(!directory.path().join("new/store/a.b-c/0123456789abcdef0123456789abcdef").exists());
    }

    #[tokio::test]
    async fn a_store_that_cannot_be_written_says_so() {
        let directory = tempfile::tempdir().unwrap();
        let place = UploadPlace::Directory(directory.path().join("store"));
        let store = UploadStore::open(&place, &S3Access::default()).unwrap();
        // A file where the tenant's directory should be.
        fs::write(directory.path().join("store/a.b-c"), "x").unwrap();
        assert!(store.put_part(&key(), 1, 0, vec![Bytes::from_static(b"x")]).await.is_err());
        let file = UploadPlace::Directory(directory.path().join("store/a.b-c"));
        let error = UploadStore::open(&file, &S3Access::default()).unwrap_err();
        assert!(error.to_string().contains("may write"), "{error}");
    }
}
