//! Several large inputs at once, and one large input on several threads.

use rayon::iter::{IntoParallelRefMutIterator as _, ParallelIterator as _};

use super::{
    CACHED_BYTES, MultiHasher,
    kernels::{InLanes, gains},
    stream::{Stream, update_streams},
};
use crate::Recipe;

impl Recipe {
    /// True if several long inputs are digested faster by [`MultiHasher::update_each`] than one after another.
    #[must_use]
    pub fn gains_side_by_side(&self) -> bool {
        self.iter().any(|algorithm| gains(*algorithm).side_by_side)
    }

    /// True if one long input is digested faster by [`MultiHasher::update_on`].
    pub(crate) fn gains_by_threads(&self) -> bool {
        self.len() > 1 || self.iter().any(|algorithm| gains(*algorithm).on_threads)
    }
}

/// Below this, waking threads costs more than they gain.
const MIN_BYTES_FOR_THREADS: usize = 1024 * 1024;

impl MultiHasher {
    /// Takes the next piece of each input: as [`Self::update`] of each, but SHA-2 of the inputs is computed side by side. For
    /// readers of several large inputs: it pays from two inputs on, and for pieces of some KiB. What remains of a longer piece
    /// when the others have ended is computed alone, so pieces should be about equally long.
    pub fn update_each(work: &mut [(&mut Self, &[u8])]) {
        let algorithms = work.iter().map(|(hasher, _)| hasher.hashers.len()).max().unwrap_or(0);
        let longest = work.iter().map(|(_, piece)| piece.len()).max().unwrap_or(0);
        // What goes through several algorithms does so while it is in the CPU's cache.
        let cached = if algorithms > 1 { (4 * CACHED_BYTES / work.len()).max(4_096) } else { longest.max(1) };
        for start in (0..longest).step_by(cached) {
            for number in 0..algorithms {
                update_one_each(work, number, start, cached);
            }
        }
    }

    /// Like [`Self::update`], on the threads of `threads`: BLAKE3 and SHA256TREE of one input, and several algorithms, are
    /// computed on all of them. Small pieces are computed right here, and so are those of a caller that is itself a thread of
    /// a rayon pool: while it waited it would work on something else of its pool, in the midst of what it holds.
    pub fn update_on(&mut self, threads: &rayon::ThreadPool, piece: &[u8]) {
        if piece.len() < MIN_BYTES_FOR_THREADS || rayon::current_thread_index().is_some() {
            return self.update(piece);
        }
        threads.install(|| self.hashers.par_iter_mut().for_each(|hasher| hasher.take_on_threads(piece)));
    }
}

/// Takes `bytes` from `start` on of every piece, with the algorithm of this number.
fn update_one_each(work: &mut [(&mut MultiHasher, &[u8])], number: usize, start: usize, bytes: usize) {
    let mut short: Vec<(&mut Stream<u32>, &[u8])> = Vec::new();
    let mut long: Vec<(&mut Stream<u64>, &[u8])> = Vec::new();
    for (hasher, piece) in work {
        let piece = piece.get(start..).unwrap_or_default();
        let piece = &piece[..piece.len().min(bytes)];
        let Some(running) = hasher.hashers.get_mut(number) else { continue };
        if running.in_lanes().is_none() {
            running.take(piece);
            continue;
        }
        match running.in_lanes() {
            Some(InLanes::Short(stream)) => short.push((stream, piece)),
            Some(InLanes::Long(stream)) => long.push((stream, piece)),
            None => {}
        }
    }
    update_streams(short);
    update_streams(long);
}
