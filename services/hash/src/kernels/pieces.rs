//! Pieces of inputs as work for lanes: each advances a state of its own.

use super::{
    scheduler::{Run, Source},
    standard::Word,
};

/// A state, and the whole blocks that come next in its input.
pub(crate) type Piece<'w, W> = (&'w mut [W; 8], &'w [u8]);

/// Pieces on their way through lanes.
pub(super) struct Pieces<'w, 'p, W, const LANES: usize> {
    pieces: &'w mut [Piece<'p, W>],
    /// The first that no lane has taken.
    next: usize,
    /// The piece of each lane.
    numbers: [usize; LANES],
}

impl<'w, 'p, W, const LANES: usize> Pieces<'w, 'p, W, LANES> {
    pub(super) fn new(pieces: &'w mut [Piece<'p, W>]) -> Self {
        Self { pieces, next: 0, numbers: [0; LANES] }
    }
}

// SAFETY: runs are in pieces, which are borrowed for as long as this lives.
unsafe impl<W: Word, const LANES: usize> Source<W> for Pieces<'_, '_, W, LANES> {
    fn begin(&mut self, lane: usize) -> Option<([W; 8], Run)> {
        loop {
            let (state, bytes) = self.pieces.get(self.next)?;
            self.numbers[lane] = self.next;
            self.next += 1;
            let blocks = bytes.len() / W::BLOCK_BYTES;
            if blocks > 0 {
                return Some((**state, Run { place: bytes.as_ptr(), blocks }));
            }
        }
    }

    fn next_run(&mut self, _: usize) -> Option<Run> {
        None
    }

    fn end(&mut self, lane: usize, state: &[W; 8]) {
        *self.pieces[self.numbers[lane]].0 = *state;
    }
}
