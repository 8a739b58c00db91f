//! Files that are too large for a task, brought to the mesh's own store by a thread that feeds.

use std::{io::Read as _, path::Path};

use bytes::Bytes;
use hashmesh::client::{Client, Uploader};
use tokio::{runtime::Handle, sync::mpsc};

use super::{
    feed::Fed,
    read::{ReadError, Unchanged},
};

/// What is read of a file at a time.
const PIECE_BYTES: usize = 256 * 1024;

/// Uploads files.
#[derive(Clone, Debug)]
pub(super) struct LargeFiles {
    client: Client,
    runtime: Handle,
}

/// Why a file is not in the store.
#[derive(Debug)]
pub(super) enum NotUploaded {
    /// For people, to be read behind the file's name.
    Because(String),
    /// Nobody wants it any more.
    Stopped,
}

impl LargeFiles {
    /// Must be made within the runtime that the client belongs to.
    pub(super) fn new(client: &Client) -> Self {
        Self { client: client.clone(), runtime: Handle::current() }
    }

    /// Uploads a file that does not change meanwhile, and gives its URI. Blocks; ends early once nobody takes what is `fed`.
    pub(super) fn upload(&self, path: &Path, follow: bool, fed: &mpsc::Sender<Fed>) -> Result<String, NotUploaded> {
        let (mut file, unchanged) = Unchanged::open(path, follow)?;
        self.runtime.block_on(async {
            tokio::select! {
                () = fed.closed() => Err(NotUploaded::Stopped),
                uploaded = self.send(&mut file, &unchanged) => uploaded,
            }
        })
    }

    async fn send(&self, file: &mut std::fs::File, unchanged: &Unchanged) -> Result<String, NotUploaded> {
        let mut uploader: Uploader = self.client.upload(None).await?;
        let id = uploader.upload().upload_id.clone();
        let mut buffer = vec![0; PIECE_BYTES];
        loop {
            // This thread is for reading files.
            match file.read(&mut buffer).map_err(ReadError::from)? {
                0 => break,
                length => uploader.write(Bytes::copy_from_slice(&buffer[..length])).await?,
            }
        }
        if let Err(changed) = unchanged.check(file) {
            // What nobody will name need not wait for its time.
            let _gone = self.client.delete_upload(&id).await;
            return Err(changed.into());
        }
        Ok(uploader.finish().await?.uri)
    }
}

impl From<ReadError> for NotUploaded {
    fn from(error: ReadError) -> Self {
        Self::Because(error.to_string())
    }
}

impl From<hashmesh::client::ClientError> for NotUploaded {
    fn from(error: hashmesh::client::ClientError) -> Self {
        Self::Because(format!("cannot be uploaded: {error}"))
    }
}
