//! Large files: hashed while they are read, several side by side, or one with the help of other threads.

use std::{
    cell::RefCell,
    fs::{File, Metadata},
    num::NonZeroU64,
};

use hashmesh_hash::{Buffer, Help, LargeInput, Recipe, SideBySide};
use rustix::fs::{Advice, fadvise};

use super::{
    Failure, Progress, Read, ReadError,
    file::{Part, read_at, require_unchanged},
};
use crate::config::BUFFER_BYTES;

/// As many as a thread reads side by side at most, where that is faster.
pub(crate) const SIDE_BY_SIDE: usize = SideBySide::<Reading<'_>>::MOST;

/// From here on, help is worth that a thread is started for it.
pub(crate) const HELPED_FILE_BYTES: u64 = 8 * 1024 * 1024;

thread_local! {
    /// One per hashing thread, for all files that it ever reads.
    static BUFFER: RefCell<Buffer> = RefCell::new(Buffer::new(BUFFER_BYTES));
}

/// A large file, open and not yet read.
#[derive(Debug)]
pub(crate) struct LargeFile {
    pub(super) file: File,
    pub(super) part: Part,
    pub(super) before: Metadata,
    pub(super) read: Read,
}

impl LargeFile {
    /// Help is worth it.
    pub(crate) fn wants_help(&self) -> bool {
        self.part.length() >= HELPED_FILE_BYTES
    }
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
    let mut cancelled = false;
    BUFFER.with_borrow_mut(|buffer| {
        let mut lanes = SideBySide::new(buffer);
        for (number, file) in files.iter().enumerate() {
            lanes.begin(Reading::begin(number, file, progress), recipe);
        }
        while !lanes.is_empty() && !cancelled {
            lanes.step(|reading, hasher| {
                let number = reading.number;
                match hasher {
                    Ok(hasher) => {
                        let mut digests = Vec::new();
                        hasher.finalize_into(&mut digests);
                        ended[number] = Some(reading.end(digests));
                    }
                    Err(ReadError::Failed(failure)) => ended[number] = Some(Err(failure)),
                    Err(ReadError::Cancelled) => cancelled = true,
                }
            });
        }
    });
    if cancelled {
        return Err(Cancelled);
    }
    // Each has ended once.
    Ok(ended.into_iter().map(|read| read.unwrap_or_else(|| Err(Failure::panicked()))).collect())
}

/// Reads this file while other threads digest it. It must be the same before and after.
pub(crate) fn read_with_help(
    help: Help<'_>,
    file: &LargeFile,
    recipe: &Recipe,
    progress: &dyn Progress,
) -> Result<ReadLarge, Cancelled> {
    let (mut reading, mut digests) = (Reading::begin(0, file, progress), Vec::new());
    match help.digest(recipe, &mut reading, &mut digests) {
        Ok(()) => Ok(reading.end(digests)),
        Err(ReadError::Failed(failure)) => Ok(Err(failure)),
        Err(ReadError::Cancelled) => Err(Cancelled),
    }
}

/// A file that is being read.
struct Reading<'f> {
    number: usize,
    file: &'f LargeFile,
    place: u64,
    progress: &'f dyn Progress,
}

impl<'f> Reading<'f> {
    fn begin(number: usize, file: &'f LargeFile, progress: &'f dyn Progress) -> Self {
        let part = file.part;
        // Only a hint: file systems without read-ahead refuse it.
        let _refused = fadvise(&file.file, part.start, NonZeroU64::new(part.length()), Advice::Sequential);
        Self { number, file, place: part.start, progress }
    }

    /// Behind its last byte, with its digests.
    fn end(self, digests: Vec<u8>) -> ReadLarge {
        if self.place != self.file.part.end {
            return Err(Failure::changed("size"));
        }
        require_unchanged(&self.file.before, &self.file.file)?;
        Ok((self.file.read.clone(), digests))
    }
}

impl LargeInput for Reading<'_> {
    type Error = ReadError;

    fn fill(&mut self, room: &mut [u8]) -> Result<usize, ReadError> {
        let part = self.file.part;
        let left = part.end - self.place;
        // Behind the last byte one more read must find the end, if the end matters.
        if left == 0 && !part.to_the_end {
            return Ok(0);
        }
        // No more than a slow disk reads in a moment: in between, the lease may be taken back.
        let wanted = usize::try_from(left.max(1)).unwrap_or(usize::MAX).min(room.len()).min(BUFFER_BYTES);
        let bytes = read_at(&self.file.file, &mut room[..wanted], self.place)?;
        if bytes > 0 && left == 0 {
            return Err(Failure::changed("size").into());
        }
        self.place += bytes as u64;
        if bytes > 0 && !self.progress.read(bytes as u64) {
            return Err(ReadError::Cancelled);
        }
        Ok(bytes)
    }
}
