//! Which of a submission's batches are in memory: a window over those that are unresolved.
//!
//! ```text
//!   0 … resolved │ front ……… kept, unresolved only ……… │ loaded_to … only in Postgres … next
//! ```
//!
//! A batch enters the window when it is appended, if there is room and everything before it is in the window; otherwise it
//! is stored only, and is loaded when the window has room again. It leaves when it is resolved. So memory is bounded by
//! what is being worked on, not by the backlog.

use std::collections::VecDeque;

use super::submission::Batch;

/// Batches of one submission that may be in memory, however full the index is: enough to keep workers busy while the next
/// ones are loaded.
pub(crate) const LEAST_WINDOW: usize = 64;
/// Batches asked for at once.
const MOST_LOADED: usize = 4096;

/// The batches of one submission.
#[derive(Debug, Default)]
pub(crate) struct Window {
    /// Unresolved batches by ascending sequence.
    kept: VecDeque<(u32, Batch)>,
    /// Every unresolved batch below is in `kept`.
    loaded_to: u32,
    /// Batches taken, stored or on their way: the sequence number of the next new one.
    next: u32,
    /// Batches that are committed: what lies below can be loaded.
    stored: u32,
    /// An answer to a load is awaited.
    loading: bool,
}

impl Window {
    /// A window over stored batches, none of which is loaded; every one below `resolved_through` is resolved.
    pub(crate) fn over(stored: u32, resolved_through: u32) -> Self {
        Self { loaded_to: resolved_through.min(stored), next: stored, stored, ..Self::default() }
    }

    /// The sequence number of the next new batch.
    pub(crate) fn next(&self) -> u32 {
        self.next
    }

    /// Every unresolved batch below is in memory.
    pub(crate) fn loaded_to(&self) -> u32 {
        self.loaded_to
    }

    /// Batches in memory.
    pub(crate) fn len(&self) -> usize {
        self.kept.len()
    }

    /// Every batch below is resolved.
    pub(crate) fn resolved_through(&self) -> u32 {
        self.kept.front().map_or(self.loaded_to, |(sequence, _)| *sequence)
    }

    /// The position that was the last one when the oldest batch in memory was taken into it: all outcomes of that batch
    /// and of those behind it have higher ones. `None`: no batch is in memory.
    pub(crate) fn outcomes_after(&self) -> Option<u64> {
        Some(self.kept.front()?.1.outcomes_after)
    }

    /// The sequence numbers of the batches in memory.
    #[cfg(test)]
    pub(crate) fn sequences(&self) -> impl Iterator<Item = u32> + '_ {
        self.kept.iter().map(|(sequence, _)| *sequence)
    }

    /// True if the batch is not in memory but will be.
    #[cfg(test)]
    pub(crate) fn loads(&self, sequence: u32) -> bool {
        (self.loaded_to..self.next).contains(&sequence)
    }

    /// A batch, if it is in memory. One that is not is resolved, or in Postgres only.
    pub(crate) fn get(&self, sequence: u32) -> Option<&Batch> {
        let place = self.place(sequence).ok()?;
        Some(&self.kept[place].1)
    }

    /// The same, to note something of it.
    pub(super) fn get_mut(&mut self, sequence: u32) -> Option<&mut Batch> {
        let place = self.place(sequence).ok()?;
        Some(&mut self.kept[place].1)
    }

    fn place(&self, sequence: u32) -> Result<usize, usize> {
        self.kept.binary_search_by_key(&sequence, |(kept, _)| *kept)
    }

    /// A new batch behind all others. With `room`, and if none is waiting in Postgres, it is kept in memory: then this
    /// returns true.
    pub(crate) fn append(&mut self, batch: Batch, room: bool) -> bool {
        let keep = room && self.loaded_to == self.next;
        if keep {
            self.kept.push_back((self.next, batch));
            self.loaded_to += 1;
        }
        self.next += 1;
        keep
    }

    /// Batches below `stored` are committed.
    pub(crate) fn store(&mut self, stored: u32) {
        self.stored = self.stored.max(stored);
    }

    /// Takes `count` unresolved tasks off a batch. True if that resolves it: then it is gone.
    pub(crate) fn resolve(&mut self, sequence: u32, count: u32) -> bool {
        let Ok(place) = self.place(sequence) else {
            debug_assert!(false, "batch {sequence} had an outcome and is not in memory");
            return false;
        };
        let batch = &mut self.kept[place].1;
        batch.unresolved = batch.unresolved.saturating_sub(count);
        let resolved = batch.unresolved == 0;
        if resolved {
            // Near the front nearly always, where this moves a few entries only.
            self.kept.remove(place);
        }
        resolved
    }

    /// Lets go of all batches: nothing more is to be done with them.
    pub(crate) fn clear(&mut self) {
        self.kept = VecDeque::new();
        self.loaded_to = self.next;
    }

    /// The answer to a load is at hand before it was asked for.
    pub(crate) fn expect_load(&mut self, at_hand: bool) {
        self.loading = at_hand;
    }

    /// What to load next, if it is time to: from which sequence number on, below which one, and how many batches. `limit`:
    /// how many may be in memory.
    pub(crate) fn wants(&mut self, limit: usize) -> Option<(u32, u32, u32)> {
        if self.loading || self.loaded_to >= self.stored || self.kept.len() > limit / 2 {
            return None;
        }
        self.loading = true;
        let count = (limit - self.kept.len()).clamp(1, MOST_LOADED);
        Some((self.loaded_to, self.stored, u32::try_from(count).unwrap_or(u32::MAX)))
    }

    /// The answer to a load: every unresolved batch from `from` up to but not including `through`, ascending. Returns false
    /// if it is not the answer that is awaited.
    pub(crate) fn load(&mut self, from: u32, through: u32, batches: impl Iterator<Item = (u32, Batch)>) -> bool {
        if !self.loading || from != self.loaded_to {
            return false;
        }
        self.loading = false;
        self.kept.extend(batches);
        self.loaded_to = through.clamp(from, self.next);
        true
    }
}
