//! The next bytes of a text, for whoever reads it part by part.

use bytes::Bytes;
use hashmesh::{tasks::AllowedSources, v1::ByteRange};
use tokio::time::timeout;

use super::{Remote, ask::Trouble, feed::Sink, object::Reading, took_too_long};
use crate::sources::{Failure, Progress, list::TextPart};

/// Takes so many bytes and no more.
struct Gathered {
    bytes: Vec<u8>,
    most: usize,
    full: bool,
}

impl Sink for Gathered {
    async fn put(&mut self, piece: Bytes) -> Result<(), Trouble> {
        let room = self.most - self.bytes.len();
        self.bytes.extend_from_slice(&piece[..piece.len().min(room)]);
        self.full = piece.len() > room;
        if self.full { Err(Trouble::Cancelled) } else { Ok(()) }
    }
}

/// Stops nothing.
struct Unwatched;

impl Progress for Unwatched {
    fn read(&self, _bytes: u64) -> bool {
        true
    }
}

impl Remote {
    /// The object's bytes from `offset` on, `most` of them at most.
    pub(crate) async fn part(
        &self,
        uri: &[u8],
        allowed: Option<&AllowedSources>,
        offset: u64,
        most: usize,
    ) -> Result<TextPart, Failure> {
        let target = self.target(uri, allowed)?;
        let mut reading = Reading::new(self, &target, Some(ByteRange { offset, length: 0 }), &Unwatched)?;
        let mut gathered = Gathered { bytes: Vec::new(), most, full: false };
        let read = timeout(self.limits.total, reading.run(&mut gathered)).await;
        match read {
            Ok(Ok(_)) => {}
            Ok(Err(Trouble::Cancelled)) if gathered.full => {}
            Ok(Err(Trouble::Failed(failure) | Trouble::Broken(failure))) => return Err(failure),
            // Nobody can cancel it but who drops it.
            Ok(Err(Trouble::Cancelled)) => return Err(Failure::panicked()),
            Err(_) => return Err(took_too_long(self.limits.total)),
        }
        Ok(TextPart { bytes: gathered.bytes, last: !gathered.full, identity: reading.identity() })
    }
}
