//! Large files: hashed while they are read, several side by side.

use std::{
    cell::RefCell,
    fs::{File, Metadata},
    num::NonZeroU64,
};

use hashmesh_hash::{MultiHasher, Recipe};
use rustix::fs::{Advice, fadvise};

use super::{
    Failure, Progress, Read,
    file::{Part, read_at, require_unchanged},
};
use crate::config::BUFFER_BYTES;

/// As many as a thread reads side by side at most, where that is faster: as many as the widest of such kernels takes. Their pieces share
/// the buffer.
pub(crate) const SIDE_BY_SIDE: usize = 8;

/// Of the page cache: a read that ends at the end of one copies no page twice.
const PAGE_BYTES: usize = 4_096;

thread_local! {
    /// One per hashing thread, for all files that it ever reads.
    static BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; BUFFER_BYTES]);
}

/// A large file, open and not yet read.
#[derive(Debug)]
pub(crate) struct LargeFile {
    pub(super) file: File,
    pub(super) part: Part,
    pub(super) before: Metadata,
    pub(super) read: Read,
}

/// [`Progress::read`] said so.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Cancelled;

/// What was read of a large file, and its digests; or why there are none.
pub(crate) type ReadLarge = Result<(Read, Vec<u8>), Failure>;

/// Reads each of these files, [`SIDE_BY_SIDE`] at most. Each must be the same before and after.
pub(crate) fn read_side_by_side(
    files: &[&LargeFile],
    recipe: &Recipe,
    progress: &dyn Progress,
) -> Result<Vec<ReadLarge>, Cancelled> {
    let mut ended: Vec<Option<ReadLarge>> = files.iter().map(|_| None).collect();
    let mut lanes: Vec<Lane<'_>> =
        files.iter().enumerate().map(|(number, file)| Lane::begin(number, file, recipe)).collect();
    BUFFER.with_borrow_mut(|buffer| {
        while !lanes.is_empty() {
            let piece_bytes = BUFFER_BYTES / lanes.len() / PAGE_BYTES * PAGE_BYTES;
            for (lane, room) in lanes.iter_mut().zip(buffer.chunks_mut(piece_bytes)) {
                lane.fill(room);
            }
            let mut pieces: Vec<(&mut MultiHasher, &[u8])> = Vec::with_capacity(lanes.len());
            for (lane, room) in lanes.iter_mut().zip(buffer.chunks(piece_bytes)) {
                if let Step::Piece(bytes) = lane.step {
                    pieces.push((&mut lane.hasher, &room[..bytes]));
                }
            }
            let bytes: usize = pieces.iter().map(|(_, piece)| piece.len()).sum();
            match &mut pieces[..] {
                [] => {}
                [(hasher, piece)] => hasher.update(piece),
                pieces => MultiHasher::update_each(pieces),
            }
            if bytes > 0 && !progress.read(bytes as u64) {
                return Err(Cancelled);
            }
            for lane in lanes.extract_if(.., |lane| !matches!(lane.step, Step::Piece(_))) {
                let number = lane.number;
                ended[number] = Some(lane.end());
            }
        }
        Ok(())
    })?;
    // Each lane has ended once.
    Ok(ended.into_iter().map(|read| read.unwrap_or_else(|| Err(Failure::panicked()))).collect())
}

/// A file that is being read.
#[derive(Debug)]
struct Lane<'f> {
    number: usize,
    file: &'f LargeFile,
    hasher: MultiHasher,
    place: u64,
    step: Step,
}

/// What a read came to.
#[derive(Debug)]
enum Step {
    /// So many bytes.
    Piece(usize),
    End,
    Failed(Failure),
}

impl<'f> Lane<'f> {
    fn begin(number: usize, file: &'f LargeFile, recipe: &Recipe) -> Self {
        let part = file.part;
        // Only a hint: file systems without read-ahead refuse it.
        let _refused = fadvise(&file.file, part.start, NonZeroU64::new(part.length()), Advice::Sequential);
        Self { number, file, hasher: MultiHasher::new(recipe), place: part.start, step: Step::Piece(0) }
    }

    /// Reads the next piece.
    fn fill(&mut self, room: &mut [u8]) {
        let part = self.file.part;
        let left = part.end - self.place;
        // Behind the last byte one more read must find the end, if the end matters.
        if left == 0 && !part.to_the_end {
            self.step = Step::End;
            return;
        }
        let wanted = usize::try_from(left.max(1)).unwrap_or(usize::MAX).min(room.len());
        self.step = match read_at(&self.file.file, &mut room[..wanted], self.place) {
            Ok(0) => Step::End,
            Ok(_) if left == 0 => Step::Failed(Failure::changed("size")),
            Ok(bytes) => {
                self.place += bytes as u64;
                Step::Piece(bytes)
            }
            Err(failure) => Step::Failed(failure),
        };
    }

    fn end(self) -> ReadLarge {
        if let Step::Failed(failure) = self.step {
            return Err(failure);
        }
        if self.place != self.file.part.end {
            return Err(Failure::changed("size"));
        }
        require_unchanged(&self.file.before, &self.file.file)?;
        let mut digests = Vec::new();
        self.hasher.finalize_into(&mut digests);
        Ok((self.file.read.clone(), digests))
    }
}
