//! One large input that is read by a thread while another, or several, digest what was read.

use std::{
    panic::resume_unwind,
    sync::{
        Mutex, MutexGuard, OnceLock, TryLockError,
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread,
};

use rayon::{ThreadPool, ThreadPoolBuilder};

use super::{buffer::Buffer, side_by_side::LargeInput};
use crate::{MultiHasher, Recipe};

/// Read at a time: what a hand-over between threads costs is little beside it.
const PIECE_BYTES: usize = 256 * 1024;

/// The same where several threads share what was read.
const SHARED_PIECE_BYTES: usize = 4 * 1024 * 1024;

/// Pieces between the two sides: one is filled, one digested, one on its way.
const PIECES: usize = 3;

/// Threads that help those that read large inputs, one of them at a time.
#[derive(Debug)]
pub struct Helpers {
    name: &'static str,
    threads: usize,
    /// Started with the first input that gains by several. None within: the system refused them, and it goes on without.
    pool: OnceLock<Option<ThreadPool>>,
    turn: Mutex<()>,
}

/// The turn of one who reads. It ends when this is dropped.
#[derive(Debug)]
pub struct Help<'h> {
    helpers: &'h Helpers,
    _turn: MutexGuard<'h, ()>,
}

impl Helpers {
    /// What helping takes of memory, at most.
    pub const BYTES: usize = PIECES * SHARED_PIECE_BYTES;

    /// One thread for every input, and `threads` more, `name-0`, `name-1` …, for those that gain by several.
    #[must_use]
    pub const fn new(name: &'static str, threads: usize) -> Self {
        Self { name, threads, pool: OnceLock::new(), turn: Mutex::new(()) }
    }

    /// How many there are for what gains by several.
    #[must_use]
    pub const fn threads(&self) -> usize {
        self.threads
    }

    /// None: they help another.
    pub fn turn(&self) -> Option<Help<'_>> {
        let turn = match self.turn.try_lock() {
            Ok(turn) => turn,
            // There is nothing behind the lock that could be half done.
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return None,
        };
        Some(Help { helpers: self, _turn: turn })
    }

    fn pool(&self) -> Option<&ThreadPool> {
        let start = || {
            let name = self.name;
            let pool = ThreadPoolBuilder::new().num_threads(self.threads);
            pool.thread_name(move |number| format!("{name}-{number}")).build().ok()
        };
        self.pool.get_or_init(start).as_ref()
    }

    /// Takes every piece, with all threads where that is faster, and gives its buffer back.
    fn digest(&self, recipe: &Recipe, pieces: &Receiver<Piece>, buffers: &SyncSender<Buffer>) -> MultiHasher {
        let mut hasher = MultiHasher::new(recipe);
        let shared = recipe.gains_by_threads();
        while let Ok(Piece { buffer, filled }) = pieces.recv() {
            // What is over with its first piece is not worth waking anybody.
            if shared
                && filled == buffer.len()
                && let Some(pool) = self.pool()
            {
                hasher.update_on(pool, &buffer[..filled]);
            } else {
                hasher.update(&buffer[..filled]);
            }
            // Who reads may have ended.
            let _ended = buffers.send(buffer);
        }
        hasher
    }
}

/// What was read at a time.
#[derive(Debug)]
struct Piece {
    buffer: Buffer,
    filled: usize,
}

impl Help<'_> {
    /// Appends the digests of all of `input`, which is read by this thread, to `digests`.
    ///
    /// # Errors
    /// It could not be read; then `digests` is as it was.
    pub fn digest<I: LargeInput>(self, recipe: &Recipe, input: &mut I, digests: &mut Vec<u8>) -> Result<(), I::Error> {
        let (full, pieces) = sync_channel(PIECES);
        let (buffers, emptied) = sync_channel(PIECES);
        let helpers = self.helpers;
        let digested = thread::scope(|scope| {
            // Both of its channels' ends go with it, should it panic.
            let digest = move || helpers.digest(recipe, &pieces, &buffers);
            let Ok(helper) = thread::Builder::new().name(helpers.name.to_owned()).spawn_scoped(scope, digest) else {
                // The system allows no more threads.
                return Ok(None);
            };
            let piece_bytes = if recipe.gains_by_threads() { SHARED_PIECE_BYTES } else { PIECE_BYTES };
            let read = hand_over(input, piece_bytes, &full, &emptied);
            drop(full);
            let hasher = helper.join().unwrap_or_else(|panic| resume_unwind(panic));
            read.map(|()| Some(hasher))
        });
        match digested? {
            Some(hasher) => hasher.finalize_into(digests),
            None => digest_alone(recipe, input, digests)?,
        }
        Ok(())
    }
}

/// Reads all of `input`.
fn hand_over<I: LargeInput>(
    input: &mut I,
    piece_bytes: usize,
    full: &SyncSender<Piece>,
    emptied: &Receiver<Buffer>,
) -> Result<(), I::Error> {
    for number in 0.. {
        let buffer = if number < PIECES { Some(Buffer::new(piece_bytes)) } else { emptied.recv().ok() };
        // There is none, and nobody takes one, if the other side has panicked.
        let Some(mut buffer) = buffer else { break };
        let filled = fill(input, &mut buffer)?;
        if filled == 0 || full.send(Piece { buffer, filled }).is_err() {
            break;
        }
    }
    Ok(())
}

/// Reads until there is no more room, or to the end.
fn fill<I: LargeInput>(input: &mut I, room: &mut [u8]) -> Result<usize, I::Error> {
    let mut filled = 0;
    while filled < room.len() {
        match input.fill(&mut room[filled..])? {
            0 => break,
            bytes => filled += bytes,
        }
    }
    Ok(filled)
}

/// The same as [`Help::digest`] on this thread alone.
pub(super) fn digest_alone<I: LargeInput>(
    recipe: &Recipe,
    input: &mut I,
    digests: &mut Vec<u8>,
) -> Result<(), I::Error> {
    let mut hasher = MultiHasher::new(recipe);
    let mut buffer = Buffer::new(PIECE_BYTES);
    loop {
        match input.fill(&mut buffer)? {
            0 => break,
            bytes => hasher.update(&buffer[..bytes]),
        }
    }
    hasher.finalize_into(digests);
    Ok(())
}
