//! The work of one thread on one group of tasks.

use std::{
    cell::Cell,
    ops::Range,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use hashmesh::{
    algorithm::stride,
    tasks::{Input, TaskView},
    v1::{Algorithm, ByteRange, ObjectIdentity, OutcomeStatus, PackedTasks},
};
use hashmesh_hash::{Foresight, Help, Helpers, digest_into, digest_many};

use super::{
    collect::Collector,
    piece::{Piece, Shelf},
    plan::{Group, Plan},
    small::{Known, Waiting},
};
use crate::{
    cache::Memo,
    hung::Busy,
    leases::HeldLease,
    poison,
    sources::{
        Cancelled, Failure, Found, LargeFile, Progress, Read, ReadError, ReadLarge, SIDE_BY_SIDE, Sources, Wanted,
        read_side_by_side, read_with_help,
    },
    trust::Trust,
};

/// A group and all it needs, to be moved to a thread.
#[derive(Debug)]
pub(crate) struct GroupWork {
    pub(crate) plan: Arc<Plan>,
    pub(crate) memo: Arc<Memo>,
    pub(crate) group: Group,
    pub(crate) held: Arc<HeldLease>,
    pub(crate) sources: Arc<Sources>,
    pub(crate) shelf: Arc<Shelf>,
    pub(crate) busy: Arc<Busy>,
    pub(crate) helpers: Option<Arc<Helpers>>,
    pub(crate) trust: Arc<Trust>,
    /// Whose lines of the log it writes.
    pub(crate) log: tracing::Span,
}

thread_local! {
    /// Of each reading thread, for all files that it ever reads.
    static FORESIGHT: Cell<Foresight> = const { Cell::new(Foresight::new()) };
}

/// The lease was cancelled.
#[derive(Debug)]
pub(crate) struct Stopped;

impl GroupWork {
    /// Works on every task of the group and puts their outcomes on the shelf.
    pub(crate) fn run(self) -> Result<(), Stopped> {
        if self.held.cancelled() {
            return Err(Stopped);
        }
        self.held.start();
        let _logged = self.log.enter();
        let _working = self.busy.enter(&self.held);
        if self.plan.plain && self.run_plain() {
            return Ok(());
        }
        self.run_each()
    }

    /// The fast path: no view and no allocation per task. False if a task panicked: then each is tried by itself.
    fn run_plain(&self) -> bool {
        let Group { first, count, data_start, data_bytes, .. } = self.group;
        let tasks = &self.plan.tasks;
        let mut rest = &tasks.data[data_start..data_start + data_bytes];
        let inputs = tasks.lengths[first..first + count].iter().map(|length| {
            let (input, behind) = rest.split_at(*length as usize);
            rest = behind;
            poison::taste(input);
            input
        });
        let mut digests = Vec::new();
        // Whatever it leaves behind is dropped.
        let hashed = catch_unwind(AssertUnwindSafe(|| digest_many(&self.plan.algorithms, inputs, &mut digests)));
        match hashed {
            Err(_) => return false,
            Ok(Err(untrusted)) => {
                // Its tasks stay without an outcome. The process ends.
                self.trust.lose(untrusted);
                return true;
            }
            Ok(Ok(())) => {}
        }
        self.held.add_tasks_done(count as u32);
        self.held.add_bytes_read(data_bytes as u64);
        let piece = Piece::succeeded(first, count, digests, data_bytes as u64);
        let lengths = &tasks.lengths[first..first + count];
        self.shelf.put(if self.plan.sizes { piece.of_sizes(lengths) } else { piece });
        true
    }

    /// Task by task, whatever each may be. Small files wait for one another and are hashed together.
    fn run_each(&self) -> Result<(), Stopped> {
        let Group { first, count, .. } = self.group;
        // The plan checked the columns and cut the groups: neither can fail.
        let Ok(tasks) = self.plan.tasks.slice(first, count) else { return Ok(()) };
        let Ok(views) = tasks.views() else { return Ok(()) };
        let mut foresight = FORESIGHT.take();
        foresight.begin();
        let mut collector = Collector::new(first, &self.plan.algorithms, &self.held, &self.shelf);
        let mut waiting = Waiting::new();
        let most_large = if self.plan.algorithms.gains_side_by_side() { SIDE_BY_SIDE } else { 1 };
        for (number, view) in (first..).zip(views) {
            if self.held.cancelled() {
                return Err(Stopped);
            }
            let mut digests = Vec::new();
            let mut waited = false;
            let mut waits = || {
                waited = true;
                let places = foresight.missed(number - first, count);
                if !places.is_empty() {
                    self.ask_for(&tasks, places);
                }
            };
            let known = match catch_task(|| self.begin(number, &view, &mut waiting, &mut digests, &mut waits)) {
                Ok(Found::Small(read)) => {
                    if !waited {
                        foresight.found(number - first);
                    }
                    Known::Read(read)
                }
                Ok(Found::Known(read)) => Known::Digested(read, digests),
                Ok(Found::Large(file)) => {
                    // What was read before need not wait for it.
                    if waiting.large() == 0 {
                        self.collect(&mut waiting, &mut collector)?;
                    }
                    Known::Large(file)
                }
                Err(ReadError::Failed(failure)) => Known::Failed(failure),
                Err(ReadError::Cancelled) => return Err(Stopped),
            };
            waiting.push(number, view, known);
            if waiting.full() || waiting.large() == most_large {
                self.collect(&mut waiting, &mut collector)?;
            }
        }
        FORESIGHT.set(foresight);
        self.collect(&mut waiting, &mut collector)?;
        collector.finish();
        Ok(())
    }

    /// Collects the outcomes of all tasks that wait.
    fn collect(&self, waiting: &mut Waiting, collector: &mut Collector<'_>) -> Result<(), Stopped> {
        let lose = |untrusted| {
            self.trust.lose(untrusted);
            Stopped
        };
        let large = waiting.read_large(|files| self.read_large(files))?;
        waiting.finish(&self.plan.algorithms, &large, lose, |number, view, outcome| {
            let digests = collector.next_task()?;
            let worked = match outcome {
                Ok((read, computed)) => {
                    digests.extend_from_slice(computed);
                    catch_task(|| Ok(self.end(number, view, read, digests)))
                }
                Err(failure) => Err(ReadError::Failed(failure)),
            };
            collector.collect(worked)
        })
    }

    /// Reads large files, side by side. One whose reading panics fails alone.
    fn read_large(&self, files: &[&LargeFile]) -> Result<Vec<ReadLarge>, Stopped> {
        let (recipe, reading) = (&self.plan.algorithms, LeaseReading(&self.held));
        let read = |files: &[&LargeFile]| {
            catch_unwind(AssertUnwindSafe(|| match (files, self.help(files)) {
                ([file], Some(help)) => Ok(vec![read_with_help(help, file, recipe, &reading)?]),
                _ => read_side_by_side(files, recipe, &reading),
            }))
        };
        if let Ok(read) = read(files) {
            return read.map_err(|Cancelled| Stopped);
        }
        let alone = files.iter().map(|file| match read(&[file]) {
            Ok(read) => read.map_err(|Cancelled| Stopped),
            Err(_) => Ok(vec![Err(Failure::panicked())]),
        });
        Ok(alone.collect::<Result<Vec<_>, _>>()?.concat())
    }

    /// Other threads for a single large file, if they have nothing to do.
    fn help(&self, files: &[&LargeFile]) -> Option<Help<'_>> {
        let helpers = self.helpers.as_ref()?;
        let wanted = matches!(files, [file] if file.wants_help());
        if wanted && self.busy.working() < helpers.threads() { helpers.turn() } else { None }
    }

    /// Reads what a task names, if that is little; computes the digests of inline bytes.
    fn begin(
        &self,
        number: usize,
        view: &TaskView,
        waiting: &mut Waiting,
        digests: &mut Vec<u8>,
        waits: &mut dyn FnMut(),
    ) -> Result<Found, ReadError> {
        match &view.input {
            Input::Inline(bytes) => {
                poison::taste(bytes);
                digest_into(&self.plan.algorithms, bytes, digests);
                let hashed_bytes = bytes.len() as u64;
                self.held.add_bytes_read(hashed_bytes);
                let identity = ObjectIdentity { size: hashed_bytes, ..ObjectIdentity::default() };
                Ok(Found::Known(Read { hashed_bytes, identity, state: None }))
            }
            Input::Object { uri, range } => {
                let wanted = wanted(&self.plan, &self.memo, number, uri, *range);
                self.sources.read(wanted, waiting.inputs(), digests, &LeaseReading(&self.held), waits)
            }
        }
    }

    /// Has the disk read the files of these tasks of the group all at once: one after another would leave it idle in between. Those that
    /// are known need not be read.
    fn ask_for(&self, tasks: &PackedTasks, places: Range<usize>) {
        let Ok(views) = tasks.views() else { return };
        for (number, view) in (self.group.first..).zip(views).take(places.end).skip(places.start) {
            if let Input::Object { uri, range } = &view.input {
                let wanted = wanted(&self.plan, &self.memo, number, uri, *range);
                if wanted.known.is_none() && !self.held.cancelled() {
                    self.sources.ask_for(&wanted);
                }
            }
        }
    }

    /// Compares a task's digests with the expected ones, and tells the cache of an object's.
    fn end(&self, number: usize, view: &TaskView, read: Read, digests: &[u8]) -> (OutcomeStatus, Read) {
        if matches!(view.input, Input::Object { .. }) {
            self.memo.note(number, &read, digests);
        }
        (compare(view, &self.plan.algorithms, digests), read)
    }
}

/// What is wanted of the object of a task, counted within the lease.
pub(super) fn wanted<'a>(
    plan: &'a Plan,
    memo: &'a Memo,
    number: usize,
    uri: &'a [u8],
    range: Option<ByteRange>,
) -> Wanted<'a> {
    Wanted {
        uri,
        range,
        algorithms: &plan.algorithms,
        allowed: plan.allowed.as_ref(),
        known: memo.known(number),
        listed: memo.listed(number),
        keeps: memo.keeps(number),
    }
}

/// Whether the digests of a task are those that were expected.
pub(super) fn compare(task: &TaskView, algorithms: &[Algorithm], digests: &[u8]) -> OutcomeStatus {
    let equal = task.expected.iter().all(|(algorithm, expected)| {
        digest_of(*algorithm, algorithms, digests).is_some_and(|digest| digest == expected.as_ref())
    });
    if equal { OutcomeStatus::Succeeded } else { OutcomeStatus::Mismatched }
}

/// Reports a large object's reading to the heartbeat, and stops it when the lease is cancelled.
pub(super) struct LeaseReading<'a>(pub(super) &'a HeldLease);

impl Progress for LeaseReading<'_> {
    fn read(&self, bytes: u64) -> bool {
        self.0.add_bytes_read(bytes);
        !self.0.cancelled()
    }
}

/// A task that panics fails alone.
fn catch_task<T>(work: impl FnOnce() -> Result<T, ReadError>) -> Result<T, ReadError> {
    // What the work may leave half done is the digests' buffer, which is cleared before its next use.
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| Err(ReadError::Failed(Failure::panicked())))
}

/// The digest of one algorithm among concatenated ones.
fn digest_of<'a>(wanted: Algorithm, algorithms: &[Algorithm], digests: &'a [u8]) -> Option<&'a [u8]> {
    let index = algorithms.iter().position(|algorithm| *algorithm == wanted)?;
    let start = stride(&algorithms[..index]);
    digests.get(start..start + wanted.digest_bytes())
}

#[cfg(test)]
mod tests;
