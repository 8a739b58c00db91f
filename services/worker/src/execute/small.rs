//! Outcomes of a group that wait for one another: small files that were read and are hashed together, large ones that are read side by
//! side, and whatever lies between them.

use std::{
    cell::RefCell,
    panic::{AssertUnwindSafe, catch_unwind},
};

use hashmesh::{algorithm::stride, tasks::TaskView};
use hashmesh_hash::{Recipe, SmallInputs, Untrusted, digest_into, digest_many};
use tokio::time::Instant;

use super::PART_INTERVAL;
use crate::{
    config::{SMALL_FILE_BYTES, SMALL_FILES_BYTES},
    sources::{Failure, LargeFile, Read, ReadLarge},
};

thread_local! {
    /// One per hashing thread, for all files that it ever reads.
    static INPUTS: RefCell<Option<SmallInputs>> = const { RefCell::new(None) };
}

/// Tasks in order, each with what is known of it.
#[derive(Debug)]
pub(super) struct Waiting {
    inputs: SmallInputs,
    tasks: Vec<WaitingTask>,
    large: usize,
    begun: Instant,
}

/// A task whose outcome is not collected yet.
#[derive(Debug)]
struct WaitingTask {
    /// Counted within the lease.
    number: usize,
    view: TaskView,
    known: Known,
}

/// What is known of a task.
#[derive(Debug)]
pub(super) enum Known {
    /// Its bytes are the next of the inputs.
    Read(Read),
    /// Its digests, too.
    Digested(Read, Vec<u8>),
    /// It is to be read.
    Large(Box<LargeFile>),
    Failed(Failure),
}

impl Waiting {
    /// With this thread's buffer.
    pub(super) fn new() -> Self {
        let inputs = INPUTS.take().unwrap_or_else(|| SmallInputs::new(SMALL_FILES_BYTES));
        Self { inputs, tasks: Vec::new(), large: 0, begun: Instant::now() }
    }

    /// Where small files are read to. What is kept there must be pushed, as [`Known::Read`].
    pub(super) fn inputs(&mut self) -> &mut SmallInputs {
        &mut self.inputs
    }

    pub(super) fn push(&mut self, number: usize, view: TaskView, known: Known) {
        if self.tasks.is_empty() {
            self.begun = Instant::now();
        }
        self.large += usize::from(matches!(known, Known::Large(_)));
        self.tasks.push(WaitingTask { number, view, known });
    }

    /// Large files that wait.
    pub(super) fn large(&self) -> usize {
        self.large
    }

    /// Has the large files read, if there are any.
    pub(super) fn read_large<E>(
        &self,
        read: impl FnOnce(&[&LargeFile]) -> Result<Vec<ReadLarge>, E>,
    ) -> Result<Vec<ReadLarge>, E> {
        let large = self.tasks.iter().filter_map(|task| match &task.known {
            Known::Large(file) => Some(&**file),
            _ => None,
        });
        if self.large == 0 { Ok(Vec::new()) } else { read(&large.collect::<Vec<_>>()) }
    }

    /// No more should wait: there is no room, or the first has waited long enough.
    pub(super) fn full(&mut self) -> bool {
        self.inputs.room().len() <= SMALL_FILE_BYTES || self.begun.elapsed() >= PART_INTERVAL
    }

    /// Hashes the small files, and gives every task in order to `collect`, with what was read of it and its digests; those of large files
    /// are given. Then nobody waits any more. After an error of `collect` this is over, and so it is if the digests are not to be trusted, which `lose` is told.
    pub(super) fn finish<E>(
        &mut self,
        recipe: &Recipe,
        large: &[ReadLarge],
        lose: impl FnOnce(Untrusted) -> E,
        mut collect: impl FnMut(usize, &TaskView, Result<(Read, &[u8]), Failure>) -> Result<(), E>,
    ) -> Result<(), E> {
        let (stride, mut together, mut alone) = (stride(recipe), Vec::new(), Vec::new());
        // What it leaves behind after a panic is not used: then each is tried by itself.
        let hashed = catch_unwind(AssertUnwindSafe(|| digest_many(recipe, self.inputs.iter(), &mut together)));
        let hashed = match hashed {
            Ok(Err(untrusted)) => return Err(lose(untrusted)),
            hashed => hashed.is_ok(),
        };
        let mut inputs = self.inputs.iter().enumerate();
        let mut large = large.iter();
        self.large = 0;
        for WaitingTask { number, view, known } in self.tasks.drain(..) {
            let outcome = match &known {
                Known::Failed(failure) => Err(failure.clone()),
                Known::Digested(read, digests) => Ok((read.clone(), digests.as_slice())),
                Known::Large(_) => match large.next() {
                    Some(Ok((read, digests))) => Ok((read.clone(), digests.as_slice())),
                    Some(Err(failure)) => Err(failure.clone()),
                    None => Err(Failure::panicked()),
                },
                Known::Read(read) => match inputs.next() {
                    Some((place, _)) if hashed => Ok((read.clone(), &together[place * stride..][..stride])),
                    Some((_, input)) => digest_alone(recipe, input, &mut alone).map(|digests| (read.clone(), digests)),
                    None => Err(Failure::panicked()),
                },
            };
            collect(number, &view, outcome)?;
        }
        drop(inputs);
        self.inputs.clear();
        Ok(())
    }
}

/// A task that panics fails alone.
fn digest_alone<'d>(recipe: &Recipe, input: &[u8], digests: &'d mut Vec<u8>) -> Result<&'d [u8], Failure> {
    digests.clear();
    match catch_unwind(AssertUnwindSafe(|| digest_into(recipe, input, digests))) {
        Ok(()) => Ok(digests),
        Err(_) => Err(Failure::panicked()),
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let mut inputs = std::mem::replace(&mut self.inputs, SmallInputs::new(0));
        inputs.clear();
        INPUTS.set(Some(inputs));
    }
}
