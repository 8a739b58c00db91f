//! A worker that comes back was not killed.
//!
//! Streams break and workers fall silent without anybody's fault. Who is lost while it holds a single suspect counts as
//! killed by it, but a worker tells at its hello which process it is: if the process is heard of again, the strike is
//! taken back. The strike that would make a dead letter waits for that, as long as a lease lasts; a worker that lives
//! tries to connect every 2 s at least.
//!
//! A task may also be to blame for broken streams without killing anybody. So this is done [`MOST_PARDONS`] times at most.

use uuid::Uuid;

use super::{
    Core, Now,
    poison::{ALONE, Blow, DEADLY, KILLED, Place},
    ranges::TaskRun,
    submission::ReadyRun,
};

/// Strikes of one task that are taken back at most.
const MOST_PARDONS: u32 = 10;

/// A single task that was all that a lost worker held.
#[derive(Debug, Default)]
pub(super) struct Accused {
    /// The worker that was lost last, until it is back.
    session: Option<Uuid>,
    /// When the task is a dead letter unless the worker is back before.
    verdict_at: Option<Now>,
    /// Strikes to be taken back when it gets the next one: it is leased again already.
    owed: u32,
    /// Strikes taken back in all.
    pardons: u32,
}

impl Core {
    /// A single task was alone and has this many strikes now. Returns how many count, and whether to wait for a verdict.
    pub(super) fn accuse(&mut self, now: Now, place: Place, strikes: u32, blow: Blow) -> (u32, bool) {
        let lost = if let Blow::Lost(session) = blow { session } else { None };
        let lives = lost.is_some_and(|session| self.lives(now, session));
        let accused = self.accused.entry(place).or_default();
        let strikes = strikes.saturating_sub(std::mem::take(&mut accused.owed)).max(ALONE);
        let may_be_pardoned = lost.is_some() && accused.pardons < MOST_PARDONS;
        if lives && may_be_pardoned {
            accused.pardons += 1;
            accused.session = None;
            return (strikes - 1, false);
        }
        accused.session = lost;
        accused.verdict_at = (may_be_pardoned && strikes >= DEADLY).then(|| now + self.config.lease_duration);
        (strikes, accused.verdict_at.is_some())
    }

    /// True if a process is connected and has been heard of lately.
    fn lives(&self, now: Now, session: Uuid) -> bool {
        let silence = self.config.silence();
        self.workers.values().any(|worker| worker.info.session == session && now < worker.heard_at + silence)
    }

    /// A process that may have been taken for lost is heard of.
    pub(super) fn pardon_for(&mut self, session: Uuid) {
        let mut waiting = Vec::new();
        for (place, accused) in self.accused.iter_mut().filter(|(_, accused)| accused.session == Some(session)) {
            accused.session = None;
            if accused.pardons >= MOST_PARDONS {
                continue;
            }
            accused.pardons += 1;
            accused.verdict_at = None;
            if self.suspects.contains_key(place) {
                waiting.push(*place);
            } else {
                accused.owed += 1;
            }
        }
        for place @ (id, sequence, first) in waiting {
            let Some(suspect) = self.suspects.remove(&place) else { continue };
            let strikes = suspect.strikes.saturating_sub(1).max(ALONE);
            let ready = ReadyRun { count: suspect.count, attempt: suspect.attempt, since: suspect.since, strikes };
            self.queue_run(id, sequence, TaskRun::new(first, suspect.count), ready);
        }
    }

    /// True if the suspect is not leased again before it is known whether its last worker lives.
    pub(super) fn awaits_verdict(&self, place: Place) -> bool {
        self.accused.get(&place).is_some_and(|accused| accused.verdict_at.is_some())
    }

    /// Makes dead letters of tasks whose last worker has not come back.
    pub(super) fn pass_verdicts(&mut self, now: Now) {
        let due = |at: Option<Now>| at.is_some_and(|at| at <= now);
        let due = self.accused.iter().filter(|(_, accused)| due(accused.verdict_at)).map(|(place, _)| *place);
        for place in due.collect::<Vec<_>>() {
            self.accused.remove(&place);
            if let Some(suspect) = self.suspects.remove(&place) {
                self.bury(place, suspect.attempt, KILLED);
            }
        }
    }

    /// Forgets what a submission's tasks are accused of: it is over.
    pub(super) fn release_accused(&mut self, id: Uuid) {
        self.accused.retain(|place, _| place.0 != id);
    }
}
