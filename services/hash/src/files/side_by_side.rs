//! Several large inputs, of which each is read as they are digested: side by side, in lanes.

use crate::{MultiHasher, Recipe};

/// Of the page cache: a read that ends at the end of one copies no page twice.
const PAGE_BYTES: usize = 4_096;

/// What is read of an input at a time, at most: the pieces of several are within a core's own cache, and a read costs little beside
/// digesting it.
const PIECE_BYTES: usize = 64 * 1024;

/// A large input that is read from its start to its end.
pub trait LargeInput {
    /// Why it could not be read.
    type Error;

    /// Reads what comes next, at most as much as there is room for. 0: its end.
    ///
    /// # Errors
    /// It cannot be read on.
    fn fill(&mut self, room: &mut [u8]) -> Result<usize, Self::Error>;
}

/// Inputs under way, which share one buffer.
#[derive(Debug)]
pub struct SideBySide<'b, I> {
    buffer: &'b mut [u8],
    lanes: Vec<Lane<I>>,
}

#[derive(Debug)]
struct Lane<I> {
    input: I,
    hasher: MultiHasher,
    /// How long the next piece is.
    filled: usize,
}

impl<'b, I: LargeInput> SideBySide<'b, I> {
    /// As many at a time as are worth it, if others wait: as the widest of the kernels has lanes that gains by several large inputs.
    pub const MOST: usize = 8;

    /// Reads into this buffer, of at least one page for each input under way.
    pub const fn new(buffer: &'b mut [u8]) -> Self {
        Self { buffer, lanes: Vec::new() }
    }

    /// One more is under way.
    pub fn begin(&mut self, input: I, recipe: &Recipe) {
        self.lanes.push(Lane { input, hasher: MultiHasher::new(recipe), filled: 0 });
    }

    /// How many are under way.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.lanes.len()
    }

    /// None is under way.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.lanes.is_empty()
    }

    /// Reads the next piece of each and digests it. Those that have none are no longer under way and told to `ended`, in no order: with
    /// what was digested, or why it could not be read.
    ///
    /// # Panics
    /// The buffer has no page for each: what has no room would look like its end.
    pub fn step(&mut self, mut ended: impl FnMut(I, Result<MultiHasher, I::Error>)) {
        let share = self.buffer.len() / self.lanes.len().max(1) / PAGE_BYTES * PAGE_BYTES;
        let piece_bytes = share.min(PIECE_BYTES);
        assert!(piece_bytes > 0, "{} inputs share {} bytes", self.lanes.len(), self.buffer.len());
        let mut place = 0;
        while let Some(lane) = self.lanes.get_mut(place) {
            let read = lane.input.fill(&mut self.buffer[place * piece_bytes..][..piece_bytes]);
            lane.filled = *read.as_ref().unwrap_or(&0);
            if lane.filled > 0 {
                place += 1;
                continue;
            }
            // The last one comes to its place.
            let Lane { input, hasher, .. } = self.lanes.swap_remove(place);
            ended(input, read.map(|_| hasher));
        }
        let pieces = self.lanes.iter_mut().zip(self.buffer.chunks(piece_bytes));
        let mut pieces: Vec<(&mut MultiHasher, &[u8])> =
            pieces.map(|(lane, piece)| (&mut lane.hasher, &piece[..lane.filled])).collect();
        match &mut pieces[..] {
            [(hasher, piece)] => hasher.update(piece),
            pieces => MultiHasher::update_each(pieces),
        }
    }
}
