//! Reading several large files side by side, so that they are digested in lanes.

use std::{
    fs::File,
    io::{self, Read},
    path::PathBuf,
};

use rustix::fs::{Advice, fadvise};

use super::open::open;
use crate::{MultiHasher, Recipe};

/// What is read of a file at a time. A few of them are within a core's own cache, and a read costs little beside digesting it.
pub(super) const PIECE_BYTES: usize = 64 * 1024;

/// Files that one thread reads side by side, at most.
pub(super) const LANES: usize = 8;

/// A large file that is still to be read, or a stream that is open.
#[derive(Debug)]
pub(super) struct Large {
    /// The number of its run, and its place there.
    pub(super) run: u64,
    pub(super) index: usize,
    pub(super) recipe: usize,
    pub(super) what: What,
}

#[derive(Debug)]
pub(super) enum What {
    Path(PathBuf),
    Open(File),
}

impl Large {
    /// A pipe or a device, which may have nothing for long.
    pub(super) fn stream(&self) -> bool {
        matches!(self.what, What::Open(_))
    }
}

impl What {
    /// Opens it, and says that it is read from its start to its end.
    pub(super) fn open(self) -> io::Result<File> {
        let file = match self {
            Self::Path(path) => open(&path)?,
            Self::Open(file) => file,
        };
        // Only a hint: pipes and some file systems refuse it.
        let _refused = fadvise(&file, 0, None, Advice::Sequential);
        Ok(file)
    }
}

/// A file under way.
#[derive(Debug)]
struct Lane {
    run: u64,
    index: usize,
    file: File,
    hasher: MultiHasher,
    buffer: Vec<u8>,
    /// How much of the buffer is the next piece.
    filled: usize,
}

/// A large file that was read to its end, or could not be.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) run: u64,
    pub(super) index: usize,
    pub(super) digests: io::Result<Vec<u8>>,
}

/// Reads `begun` side by side; what `next` gives to so many that are under way comes beside them. Each
/// that ends is told to `ended`, which says whether to go on.
pub(super) fn side_by_side(
    recipes: &[Recipe],
    begun: Vec<Large>,
    mut next: impl FnMut(usize) -> Option<Large>,
    mut ended: impl FnMut(Ended) -> bool,
) {
    let mut lanes: Vec<Lane> = Vec::with_capacity(begun.len());
    let mut begun = begun.into_iter();
    // Those of lanes that have ended.
    let mut buffers: Vec<Vec<u8>> = Vec::new();
    loop {
        while lanes.len() < LANES
            && let Some(large) = begun.next().or_else(|| if lanes.is_empty() { None } else { next(lanes.len()) })
        {
            let (run, index) = (large.run, large.index);
            match large.what.open() {
                Ok(file) => {
                    let hasher = MultiHasher::new(&recipes[large.recipe]);
                    let buffer = buffers.pop().unwrap_or_else(|| vec![0; PIECE_BYTES]);
                    lanes.push(Lane { run, index, file, hasher, buffer, filled: 0 });
                }
                Err(error) => {
                    if !ended(Ended { run, index, digests: Err(error) }) {
                        return;
                    }
                }
            }
        }
        if lanes.is_empty() {
            return;
        }
        let mut place = 0;
        while let Some(lane) = lanes.get_mut(place) {
            let read = fill(&mut lane.file, &mut lane.buffer);
            lane.filled = *read.as_ref().unwrap_or(&0);
            if read.is_ok() && lane.filled > 0 {
                place += 1;
                continue;
            }
            let lane = lanes.swap_remove(place);
            buffers.push(lane.buffer);
            let digests = read.map(|_| {
                let mut digests = Vec::new();
                lane.hasher.finalize_into(&mut digests);
                digests
            });
            if !ended(Ended { run: lane.run, index: lane.index, digests }) {
                return;
            }
        }
        let mut pieces: Vec<(&mut MultiHasher, &[u8])> =
            lanes.iter_mut().map(|lane| (&mut lane.hasher, &lane.buffer[..lane.filled])).collect();
        MultiHasher::update_each(&mut pieces);
    }
}

/// Reads until the buffer is full, or to the end.
pub(super) fn fill(file: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(bytes) => filled += bytes,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}
