//! After a crash that took workers and the owner together, nobody remembers what was in whose hands. A task that kills
//! all of them within a second would do so for ever.
//!
//! So what such a start finds unfinished counts as in hand once (one strike each), and is *announced* before it is leased:
//! a row says that a worker may hold it. Should it come to a crash again, what has such a row gets its second strike, and
//! [`super::poison`] goes on from there. Announcements go ahead of the work by a window that grows as long as all goes
//! well, and only while no suspect can be leased, so that a suspect's worker dies of the suspect alone. What nobody may
//! work on now, because it is paused, its time has not come or no worker reaches it, holds up nothing else.
//!
//! Otherwise tasks may be leased while their insert is still on its way. A client that sends a batch again and again which
//! kills everything before it is committed would never leave a trace, so not within [`CAREFUL`] after such a start.

use std::{
    collections::BTreeMap,
    ops::Bound::{Excluded, Unbounded},
    time::Duration,
};

use uuid::Uuid;

use super::{
    Core, Effect, Now,
    poison::{Place, announcement},
    ranges::TaskRun,
    submission::ReadyRun,
};
use crate::store::model::LeaseRow;

/// Ranges announced at once at first: what a second crash makes suspects of.
const FIRST_WINDOW: usize = 16;
/// Ranges announced at once at most.
const LAST_WINDOW: usize = 4096;
/// For how long after a crash new batches are leased only once they are committed. Clients that try again do so sooner.
const CAREFUL: Duration = Duration::from_secs(60);
/// Ranges looked at in one go, in search of those that may be worked on.
const LOOKS: usize = 4096;
/// The strikes of what was unfinished at a crash.
const UNFINISHED: u32 = 1;

/// What a crash left unfinished.
#[derive(Debug)]
pub(super) struct Caution {
    /// Not yet announced: (tasks, attempt).
    pub(super) unannounced: BTreeMap<Place, (u32, u32)>,
    /// Announced and not yet known to be resolved: (tasks, attempt, in the table).
    pub(super) announced: BTreeMap<Place, (u32, u32, bool)>,
    window: usize,
    /// What was looked at last.
    seen: Place,
}

const START: Place = (Uuid::nil(), 0, 0);

impl Caution {
    pub(super) fn new() -> Self {
        Self { unannounced: BTreeMap::new(), announced: BTreeMap::new(), window: FIRST_WINDOW, seen: START }
    }
}

impl Core {
    /// True if new batches must be committed before they are leased.
    pub(super) fn careful(&self, now: Now) -> bool {
        self.config.after_crash && now < CAREFUL
    }

    /// Notes a range that the crash left unfinished.
    pub(super) fn found_unfinished(&mut self, id: Uuid, sequence: u32, run: TaskRun, attempt: u32) {
        if run.count > 0 {
            self.caution.unannounced.insert((id, sequence, run.first), (run.count, attempt));
        }
    }

    /// Announces what may be leased next.
    fn announce(&mut self) {
        if self.caution.unannounced.is_empty() || self.suspects.keys().any(|place| self.may_proceed(*place)) {
            return;
        }
        let proceeding = self.caution.announced.keys().filter(|place| self.may_proceed(**place)).count();
        let mut room = self.caution.window.saturating_sub(proceeding);
        for _ in 0..LOOKS.min(self.caution.unannounced.len()) {
            if room == 0 {
                return;
            }
            let mut behind = self.caution.unannounced.range((Excluded(self.caution.seen), Unbounded));
            let Some((place, (count, attempt))) = behind.next().map(|(place, run)| (*place, *run)) else {
                self.caution.seen = START;
                continue;
            };
            self.caution.seen = place;
            if self.may_proceed(place) {
                self.caution.unannounced.remove(&place);
                self.caution.announced.insert(place, (count, attempt, false));
                self.effects.push(Effect::WriteAhead(announcement(place, count, attempt, UNFINISHED)));
                room -= 1;
            }
        }
    }

    /// True if a worker may be given the range at some moment soon.
    fn may_proceed(&self, place: Place) -> bool {
        self.room_for(place.0).is_some() && self.reached(place)
    }

    /// An announcement is in the table: its range may be leased.
    pub(super) fn ahead_written(&mut self, now: Now, row: &LeaseRow) {
        let place = (row.submission, row.sequence, row.first_task);
        let Some((count, attempt, written @ false)) = self.caution.announced.get_mut(&place) else { return };
        *written = true;
        let (run, attempt) = (TaskRun::new(row.first_task, *count), *attempt);
        let ready = ReadyRun { count: run.count, attempt, since: now, strikes: UNFINISHED };
        self.queue_run(row.submission, row.sequence, run, ready);
    }

    /// Lets go of announcements whose tasks have outcomes, and widens the window if there were any.
    pub(super) fn review_announced(&mut self) {
        if self.caution.announced.is_empty() && self.caution.unannounced.is_empty() {
            return;
        }
        let before = self.caution.announced.len();
        let open = self.open_runs();
        self.caution.announced.retain(|(id, sequence, first), (count, _, written)| {
            let range = TaskRun::new(*first, *count);
            !*written || open.get(&(*id, *sequence)).is_some_and(|runs| runs.iter().any(|run| run.overlaps(range)))
        });
        if self.caution.announced.len() < before {
            self.caution.window = (self.caution.window * 2).min(LAST_WINDOW);
        }
        self.announce();
    }

    /// All that was tried before and has no outcome, by batch. What a batch has announced may be done long before the batch.
    fn open_runs(&self) -> BTreeMap<(Uuid, u32), Vec<TaskRun>> {
        let mut open: BTreeMap<(Uuid, u32), Vec<TaskRun>> = BTreeMap::new();
        let mut add = |id, sequence, run| open.entry((id, sequence)).or_default().push(run);
        for lease in self.leases.values().filter(|lease| lease.strikes > 0) {
            lease.unresolved.iter().for_each(|run| add(lease.submission, lease.sequence, run));
        }
        self.ready.tried().for_each(|(id, sequence, run, _)| add(id, sequence, run));
        self.waiting.iter().for_each(|waiting| add(waiting.submission, waiting.sequence, waiting.run));
        for ((id, sequence, first), suspect) in &self.suspects {
            add(*id, *sequence, TaskRun::new(*first, suspect.count));
        }
        open
    }

    /// Forgets a submission's announcements: it is over.
    pub(super) fn release_announced(&mut self, id: Uuid) {
        let all = (id, 0, 0)..=(id, u32::MAX, u32::MAX);
        let places: Vec<Place> = self.caution.unannounced.range(all.clone()).map(|(place, _)| *place).collect();
        for place in places {
            self.caution.unannounced.remove(&place);
        }
        let places: Vec<Place> = self.caution.announced.range(all).map(|(place, _)| *place).collect();
        for place in places {
            self.caution.announced.remove(&place);
        }
    }

    /// Announcements that are on their way to the table.
    pub(super) fn announced_rows(&self) -> impl Iterator<Item = LeaseRow> + '_ {
        let unwritten = self.caution.announced.iter().filter(|(_, (_, _, written))| !written);
        unwritten.map(|(place, (count, attempt, _))| announcement(*place, *count, *attempt, UNFINISHED))
    }

    /// True if a row of a range in this state must say that a worker may hold it at any moment.
    pub(super) fn may_be_held(&self, ready: &ReadyRun) -> bool {
        self.config.after_crash && ready.strikes > 0
    }

    /// A submission's tasks that wait to be announced.
    #[cfg(test)]
    pub(super) fn unannounced_runs(&self, id: Uuid) -> Vec<(u32, TaskRun)> {
        let mine = |place: &&Place| place.0 == id;
        let waiting = self.caution.unannounced.iter().filter(|(place, _)| mine(place));
        let waiting = waiting.map(|((_, sequence, first), (count, _))| (*sequence, TaskRun::new(*first, *count)));
        let unwritten = self.caution.announced.iter().filter(|(place, (.., written))| mine(place) && !written);
        let unwritten = unwritten.map(|((_, sequence, first), (count, ..))| (*sequence, TaskRun::new(*first, *count)));
        waiting.chain(unwritten).collect()
    }
}
