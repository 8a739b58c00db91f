//! One input that is read by a thread while another, or several, digest what was read.

use std::{
    cell::OnceCell,
    io::{self, Read},
    sync::mpsc::sync_channel,
    thread,
};

use rayon::{ThreadPool, ThreadPoolBuilder};

use super::large::fill;
use crate::{MultiHasher, Recipe};

/// Read at a time: what a hand-over between threads costs is little beside it.
const PIECE_BYTES: usize = 256 * 1024;

/// The same where several threads share what was read.
const SHARED_PIECE_BYTES: usize = 4 * 1024 * 1024;

/// Pieces between the two sides: one is filled, one digested, one on its way.
const PIECES: usize = 3;

/// Appends the digests of all of `input` to `digests`, on `threads` threads where the recipe gains by them.
pub(super) fn digest_ahead(
    recipe: &Recipe,
    threads: usize,
    input: &mut (impl Read + Send),
    digests: &mut Vec<u8>,
) -> io::Result<()> {
    let shared = recipe.gains_by_threads();
    let piece_bytes = if shared { SHARED_PIECE_BYTES } else { PIECE_BYTES };
    let pool = OnceCell::new();
    let mut hasher = MultiHasher::new(recipe);
    let (full, filled) = sync_channel::<(Vec<u8>, usize)>(PIECES);
    let (empty, emptied) = sync_channel::<Vec<u8>>(PIECES);
    let read = move || -> io::Result<()> {
        let mut fresh = PIECES;
        loop {
            let buffer = if fresh > 0 {
                fresh -= 1;
                Some(vec![0; piece_bytes])
            } else {
                emptied.recv().ok()
            };
            let Some(mut buffer) = buffer else { return Ok(()) };
            let bytes = fill(input, &mut buffer)?;
            // Nobody takes it if the other side has panicked.
            if bytes == 0 || full.send((buffer, bytes)).is_err() {
                return Ok(());
            }
        }
    };
    // All of both channels' ends go with this closure or the reader's, should either panic.
    thread::scope(move |scope| {
        let reader = thread::Builder::new().name("read".to_owned()).spawn_scoped(scope, read)?;
        while let Ok((buffer, bytes)) = filled.recv() {
            // One that is over with its first piece is not worth waking anybody.
            if shared
                && bytes == piece_bytes
                && let Some(pool) = pool.get_or_init(|| start(threads))
            {
                hasher.update_on(pool, &buffer[..bytes]);
            } else {
                hasher.update(&buffer[..bytes]);
            }
            // The reader may have ended.
            let _ended = empty.send(buffer);
        }
        reader.join().unwrap_or_else(|_| Err(io::Error::other("the thread that reads has panicked")))?;
        hasher.finalize_into(digests);
        Ok(())
    })
}

/// None if the system refuses so many threads: then it goes on without.
fn start(threads: usize) -> Option<ThreadPool> {
    ThreadPoolBuilder::new().num_threads(threads).thread_name(|number| format!("sum-{number}")).build().ok()
}

/// The same on this thread alone.
pub(super) fn digest_alone(recipe: &Recipe, input: &mut impl Read, digests: &mut Vec<u8>) -> io::Result<()> {
    let mut hasher = MultiHasher::new(recipe);
    let mut buffer = vec![0; PIECE_BYTES];
    loop {
        let bytes = fill(input, &mut buffer)?;
        if bytes == 0 {
            break;
        }
        hasher.update(&buffer[..bytes]);
    }
    hasher.finalize_into(digests);
    Ok(())
}
