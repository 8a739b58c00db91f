//! What there is to do and what is done, shared by the threads.

use std::{
    collections::VecDeque,
    io,
    ops::ControlFlow,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
};

use super::{
    large::{Ended, LANES, Large},
    run::{Entry, Outcome, Run},
};

/// Runs that are under way per thread, at most, so that one that waits long does not stop the others at once.
const RUNS_PER_THREAD: usize = 32;

/// What a thread does next.
#[derive(Debug)]
pub(super) enum Duty<S> {
    /// Takes the run of this number from the source, and gives the source back.
    Take { source: S, number: u64 },
    /// Reads large files side by side.
    Read(Vec<Large>),
    /// Reads a stream: alone, for it may have nothing for long.
    ReadStream(Large),
    /// Reads the one large file that is left, while others have nothing to do.
    ReadLast(Large),
}

/// See the module.
#[derive(Debug)]
pub(super) struct Board<S, E, K> {
    state: Mutex<State<S, E, K>>,
    /// Something there is to do, or nothing any more.
    changed: Condvar,
    threads: usize,
}

#[derive(Debug)]
struct State<S, E, K> {
    /// None: a thread takes a run from it, or it is at its end.
    source: Option<S>,
    source_ended: bool,
    /// None: a thread tells.
    sink: Option<K>,
    /// The sink wants no more.
    stopped: bool,
    /// Runs that were taken and not posted: large files may come of them.
    in_hand: usize,
    /// Those that were taken and not told, the oldest first. None: in hand.
    runs: VecDeque<Option<Run<E>>>,
    /// The number of the oldest.
    first: u64,
    large: VecDeque<Large>,
    /// Threads that read large files or streams.
    reading: usize,
    hired: usize,
    waiting: usize,
}

impl<S, E, K> Board<S, E, K>
where
    E: Entry,
    K: FnMut(E, Option<io::Result<&[u8]>>) -> ControlFlow<()>,
{
    /// For so many threads, of which one is there.
    pub(super) fn new(source: S, sink: K, threads: usize) -> Self {
        let state = State {
            source: Some(source),
            source_ended: false,
            sink: Some(sink),
            stopped: false,
            in_hand: 0,
            runs: VecDeque::new(),
            first: 0,
            large: VecDeque::new(),
            reading: 0,
            hired: 1,
            waiting: 0,
        };
        Self { state: Mutex::new(state), changed: Condvar::new(), threads }
    }

    pub(super) fn threads(&self) -> usize {
        self.threads
    }

    /// Waits for something to do. None: nothing is left.
    pub(super) fn next(&self) -> Option<Duty<S>> {
        let mut state = self.lock();
        loop {
            if state.stopped {
                return None;
            }
            // First, for what is taken is opened and held.
            if let Some(large) = state.take_large(self.threads) {
                let others = state.reading > 0 || state.in_hand > 0 || !state.large.is_empty();
                let alone = state.source_ended && !others;
                state.reading += 1;
                return Some(match <[Large; 1]>::try_from(large) {
                    Ok([last]) if alone && self.threads > 1 => Duty::ReadLast(last),
                    Ok([stream]) if stream.stream() => Duty::ReadStream(stream),
                    Ok([one]) => Duty::Read(vec![one]),
                    Err(several) => Duty::Read(several),
                });
            }
            if state.runs.len() < self.threads * RUNS_PER_THREAD
                && let Some(source) = state.source.take()
            {
                let number = state.first + state.runs.len() as u64;
                state.runs.push_back(None);
                state.in_hand += 1;
                return Some(Duty::Take { source, number });
            }
            if state.source_ended && state.in_hand == 0 {
                return None;
            }
            state.waiting += 1;
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.waiting -= 1;
        }
    }

    /// One more for a thread that reads so many side by side already, if others do not go without by that.
    pub(super) fn next_large(&self, read: usize) -> Option<Large> {
        let mut state = self.lock();
        // This one is among those that read.
        let takers = (self.threads + 1).saturating_sub(state.reading);
        let more = !state.large.front()?.stream() && read < share(read + state.large.len(), takers);
        if more { state.large.pop_front() } else { None }
    }

    /// What a thread was given to read is at its end.
    pub(super) fn have_read(&self) {
        self.lock().reading -= 1;
    }

    /// True if another thread is worth it; it is then counted as hired.
    pub(super) fn hires(&self) -> bool {
        let mut state = self.lock();
        let work = !state.large.is_empty() || state.source.is_some();
        let hires = work && !state.stopped && state.waiting == 0 && state.hired < self.threads;
        state.hired += usize::from(hires);
        hires
    }

    /// Gives the source back, if it is not at its end.
    pub(super) fn give_back(&self, source: Option<S>) {
        let mut state = self.lock();
        state.source_ended = source.is_none();
        state.source = source;
        drop(state);
        self.changed.notify_one();
    }

    /// Puts a run up, whose large files are still to be read.
    pub(super) fn post(&self, number: u64, run: Run<E>, large: Vec<Large>) {
        let mut state = self.lock();
        state.in_hand -= 1;
        state.large.extend(large);
        if let Some(slot) = state.slot(number) {
            *slot = Some(run);
        }
        drop(state);
        // Also those that wait for the end.
        self.changed.notify_all();
        self.tell();
    }

    /// Puts up what became of a large file. False if nobody wants to know any more.
    pub(super) fn fill(&self, ended: Ended) -> bool {
        let mut state = self.lock();
        if let Some(Some(run)) = state.slot(ended.run) {
            match ended.digests {
                Ok(digests) => run.keep(ended.index, &digests),
                Err(error) => run.set(ended.index, Outcome::Failed(error)),
            }
        }
        let goes_on = !state.stopped;
        drop(state);
        self.tell();
        goes_on
    }

    /// Lets every thread end, whatever is left.
    pub(super) fn stop(&self) {
        self.lock().stopped = true;
        self.changed.notify_all();
    }

    /// What was given, when all threads have ended.
    pub(super) fn into_sink(self) -> Option<K> {
        self.state.into_inner().unwrap_or_else(PoisonError::into_inner).sink
    }

    /// Tells what is known, unless another thread does; that one will see what is new.
    fn tell(&self) {
        let mut state = self.lock();
        while !state.stopped
            && state.sink.is_some()
            && let Some(Some(run)) = state.runs.front_mut()
        {
            let known = run.take_known();
            let over = run.over();
            if over {
                state.runs.pop_front();
                state.first += 1;
            }
            let Some(known) = known else { if over { continue } else { return } };
            let Some(mut sink) = state.sink.take() else { return };
            // Whoever reads what is told may be slow.
            drop(state);
            self.changed.notify_one();
            let told = known.tell(&mut sink);
            state = self.lock();
            state.sink = Some(sink);
            if told.is_break() {
                state.stopped = true;
                drop(state);
                self.changed.notify_all();
                return;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State<S, E, K>> {
        // No code panics while it holds the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S, E, K> State<S, E, K> {
    fn slot(&mut self, number: u64) -> Option<&mut Option<Run<E>>> {
        let index = usize::try_from(number.checked_sub(self.first)?).ok()?;
        self.runs.get_mut(index)
    }

    /// What a thread that reads nothing takes of the large files: a stream, or its share.
    fn take_large(&mut self, threads: usize) -> Option<Vec<Large>> {
        let share = share(self.large.len(), threads.saturating_sub(self.reading));
        let first = self.large.pop_front()?;
        if first.stream() {
            return Some(vec![first]);
        }
        let mut large = vec![first];
        while large.len() < share && self.large.front().is_some_and(|next| !next.stream()) {
            large.extend(self.large.pop_front());
        }
        Some(large)
    }
}

/// As many of so many large files as there are for each of the threads that may take them.
fn share(files: usize, takers: usize) -> usize {
    files.div_ceil(takers.max(1)).min(LANES)
}
