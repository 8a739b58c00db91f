//! Neighbouring entries, and what became of each.

use std::{
    io, mem,
    ops::{ControlFlow, Range},
    path::Path,
};

/// What is told in order.
pub trait Entry: Send {
    /// What is digested of it.
    fn input(&self) -> Input<'_>;

    /// Which of the recipes says what is computed.
    fn recipe(&self) -> usize {
        0
    }
}

/// What is digested.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input<'a> {
    /// Nothing: the entry only has its place between others.
    Nothing,
    /// Standard input, to its end.
    Stdin,
    /// What is at this path, whatever kind of file it is.
    File(&'a Path),
}

/// Entries that one thread takes at once; more are not worth a second visit to the board. Fewer would leave lanes empty.
pub(super) const RUN_ENTRIES: usize = 128;

/// Neighbouring entries.
#[derive(Debug)]
pub(super) struct Run<E> {
    /// None: it was told.
    entries: Vec<Option<E>>,
    outcomes: Vec<Outcome>,
    digests: Vec<u8>,
    /// How many were told.
    told: usize,
}

/// What became of an entry.
#[derive(Debug)]
pub(super) enum Outcome {
    /// It is not known yet.
    Awaited,
    /// Nothing was to be digested.
    Nothing,
    /// Where its digests are among the run's.
    Digested {
        start: usize,
        end: usize,
    },
    Failed(io::Error),
}

/// Entries whose outcomes are known, and whose turn it is to be told.
#[derive(Debug)]
pub(super) struct Known<E> {
    entries: Vec<(E, Outcome)>,
    digests: Vec<u8>,
}

impl<E: Entry> Run<E> {
    pub(super) fn new(entries: Vec<E>) -> Self {
        let outcomes = entries.iter().map(|_| Outcome::Awaited).collect();
        Self { entries: entries.into_iter().map(Some).collect(), outcomes, digests: Vec::new(), told: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// An entry that was not told yet.
    pub(super) fn entry(&self, index: usize) -> Option<&E> {
        self.entries.get(index).and_then(Option::as_ref)
    }

    /// What is read of these entries.
    pub(super) fn paths(&self, places: Range<usize>) -> impl Iterator<Item = &Path> {
        self.entries[places].iter().flatten().filter_map(|entry| match entry.input() {
            Input::File(path) => Some(path),
            Input::Nothing | Input::Stdin => None,
        })
    }

    /// Nothing is known of it yet.
    pub(super) fn awaits(&self, index: usize) -> bool {
        matches!(self.outcomes[index], Outcome::Awaited)
    }

    pub(super) fn set(&mut self, index: usize, outcome: Outcome) {
        self.outcomes[index] = outcome;
    }

    /// Keeps the digests of an entry.
    pub(super) fn keep(&mut self, index: usize, digests: &[u8]) {
        let start = self.digests.len();
        self.digests.extend_from_slice(digests);
        self.outcomes[index] = Outcome::Digested { start, end: self.digests.len() };
    }

    /// All were told.
    pub(super) fn over(&self) -> bool {
        self.told == self.entries.len()
    }

    /// Takes the entries whose turn it is to be told, up to one whose outcome is awaited. None if that is the next one.
    pub(super) fn take_known(&mut self) -> Option<Known<E>> {
        let awaited = self.outcomes[self.told..].iter().position(|outcome| matches!(outcome, Outcome::Awaited));
        let end = awaited.map_or(self.entries.len(), |awaited| self.told + awaited);
        let known = self.told..end;
        if known.is_empty() {
            return None;
        }
        let outcomes = self.outcomes[known.clone()].iter_mut().map(|one| mem::replace(one, Outcome::Nothing));
        let entries = self.entries[known].iter_mut().filter_map(Option::take).zip(outcomes).collect();
        self.told = end;
        let digests = if self.over() { mem::take(&mut self.digests) } else { self.digests.clone() };
        Some(Known { entries, digests })
    }
}

impl<E> Known<E> {
    /// Tells each in order, until `tell` breaks off.
    pub(super) fn tell(self, mut tell: impl FnMut(E, Option<io::Result<&[u8]>>) -> ControlFlow<()>) -> ControlFlow<()> {
        for (entry, outcome) in self.entries {
            let outcome = match outcome {
                Outcome::Awaited | Outcome::Nothing => None,
                Outcome::Digested { start, end } => Some(Ok(&self.digests[start..end])),
                Outcome::Failed(error) => Some(Err(error)),
            };
            tell(entry, outcome)?;
        }
        ControlFlow::Continue(())
    }
}
