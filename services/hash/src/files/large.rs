//! Large files, and streams.

use std::{
    fs::File,
    io::{self, Read},
    path::PathBuf,
};

use rustix::fs::{Advice, fadvise};

use super::{
    buffer::Buffer,
    open::open,
    side_by_side::{LargeInput, SideBySide},
};
use crate::Recipe;

/// What files that are read side by side share.
const BUFFER_BYTES: usize = 512 * 1024;

/// Files that one thread reads side by side, at most.
pub(super) const LANES: usize = SideBySide::<OpenLarge>::MOST;

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

/// A large file that was read to its end, or could not be.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) run: u64,
    pub(super) index: usize,
    pub(super) digests: io::Result<Vec<u8>>,
}

/// One that is being read.
#[derive(Debug)]
pub(super) struct OpenLarge {
    run: u64,
    index: usize,
    file: File,
}

impl LargeInput for OpenLarge {
    type Error = io::Error;

    fn fill(&mut self, room: &mut [u8]) -> io::Result<usize> {
        self.file.fill(room)
    }
}

impl LargeInput for File {
    type Error = io::Error;

    fn fill(&mut self, room: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.read(room) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => return read,
            }
        }
    }
}

/// Reads `begun` side by side; what `next` gives to so many that are under way comes beside them. Each
/// that ends is told to `ended`, which says whether to go on.
pub(super) fn read_side_by_side(
    recipes: &[Recipe],
    begun: Vec<Large>,
    mut next: impl FnMut(usize) -> Option<Large>,
    mut ended: impl FnMut(Ended) -> bool,
) {
    let mut buffer = Buffer::new(BUFFER_BYTES);
    let mut lanes = SideBySide::new(&mut buffer);
    let mut begun = begun.into_iter();
    let mut goes_on = true;
    while goes_on {
        while lanes.len() < LANES
            && let Some(large) = begun.next().or_else(|| if lanes.is_empty() { None } else { next(lanes.len()) })
        {
            let (run, index) = (large.run, large.index);
            match large.what.open() {
                Ok(file) => lanes.begin(OpenLarge { run, index, file }, &recipes[large.recipe]),
                Err(error) => goes_on &= ended(Ended { run, index, digests: Err(error) }),
            }
        }
        if lanes.is_empty() {
            return;
        }
        lanes.step(|OpenLarge { run, index, .. }, hasher| {
            let digests = hasher.map(|hasher| {
                let mut digests = Vec::new();
                hasher.finalize_into(&mut digests);
                digests
            });
            goes_on &= ended(Ended { run, index, digests });
        });
    }
}
