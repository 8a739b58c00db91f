//! A part as it is read: in pieces, never as a whole.

use std::{fmt, fs::File, os::unix::fs::FileExt as _};

use bytes::{Bytes, BytesMut};
use futures::{StreamExt as _, stream::BoxStream};
use object_store::{GetResult, GetResultPayload};

use crate::{PartRange, StoreError};

/// What is read of a file at a time: a trip to a blocking thread costs some 10 µs.
const PIECE_BYTES: u64 = 256 * 1024;

const WHAT: &str = "read a part";

/// The wanted bytes of a part.
pub struct PartReader {
    from: From,
    /// Bytes that are still to come.
    left: u64,
}

enum From {
    File {
        /// Not there while a thread has it.
        file: Option<File>,
        place: u64,
    },
    Stream(BoxStream<'static, object_store::Result<Bytes>>),
}

impl fmt::Debug for PartReader {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("PartReader").field("left", &self.left).finish_non_exhaustive()
    }
}

impl PartReader {
    pub(crate) fn new(part: &PartRange, found: GetResult) -> Result<Self, StoreError> {
        if found.meta.size != part.length {
            return Err(StoreError::Damaged("a part has another length"));
        }
        let from = match found.payload {
            GetResultPayload::File(file, _) => From::File { file: Some(file), place: part.bytes.start },
            GetResultPayload::Stream(stream) => From::Stream(stream),
        };
        Ok(Self { from, left: part.bytes.end - part.bytes.start })
    }

    /// The next bytes; none at the end.
    ///
    /// # Errors
    /// If the store breaks off, or has less than it said.
    pub async fn next(&mut self) -> Result<Option<Bytes>, StoreError> {
        if self.left == 0 {
            return Ok(None);
        }
        let piece = match &mut self.from {
            From::Stream(stream) => stream.next().await.transpose().map_err(StoreError::of(WHAT))?,
            From::File { file, place } => {
                let (Some(taken), from) = (file.take(), *place) else { return Ok(None) };
                let length = usize::try_from(PIECE_BYTES.min(self.left)).unwrap_or(usize::MAX);
                let read = tokio::task::spawn_blocking(move || {
                    let mut piece = BytesMut::zeroed(length);
                    taken.read_exact_at(&mut piece, from).map(|()| (taken, piece.freeze()))
                });
                let read = read.await.map_err(|error| StoreError::of(WHAT)(error.into()))?;
                let (taken, piece) = read.map_err(|error| StoreError::io(WHAT, error))?;
                (*file, *place) = (Some(taken), from + piece.len() as u64);
                Some(piece)
            }
        };
        let short = || StoreError::Damaged("a part ends early");
        let piece = piece.ok_or_else(short)?;
        self.left = self.left.checked_sub(piece.len() as u64).ok_or(StoreError::Damaged("a part goes on too long"))?;
        Ok(Some(piece))
    }
}
