//! Which sources are being listed, how far, and which worker is asked for the next page: a state machine without I/O.
//!
//! Of each listing one page is asked for at a time, of any worker that may read all of the source. The cursor here is that of
//! the last page that was handed to the submission's lane; a new owner goes on from the last that was committed.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use bytes::Bytes;
use hashmesh::{
    error::TaskReason,
    limits::MAX_BATCH_TASKS,
    queue::v1::ListSource,
    tasks::Place,
    v1::{SourceRoot, TaskError},
};
use uuid::Uuid;

use crate::core::{Now, WorkerId};

/// Pages asked of one worker at once.
const PAGES_PER_WORKER: usize = 4;
/// A page that takes longer is asked of another.
const PAGE_TIMEOUT: Duration = Duration::from_secs(120);
/// URIs and names of a page.
const PAGE_BYTES: u32 = 2 * 1024 * 1024;
/// Before a page is asked for again; doubles with each failure in a row.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// The longest that a source may ask for.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(600);
/// Failures in a row after which a listing has failed: some fifteen minutes.
const MOST_FAILURES: u32 = 20;

/// Every listing under way.
#[derive(Debug, Default)]
pub(super) struct Expansions {
    listings: BTreeMap<Uuid, Listing>,
    /// The number of the last question.
    questions: u64,
    /// Something has changed since it was last looked for questions to ask.
    changed: bool,
}

#[derive(Debug)]
struct Listing {
    uri: String,
    cursor: Bytes,
    asked: Option<Asked>,
    /// The last question about it, so that listings take turns.
    turn: u64,
    /// Not asked for before.
    due: Now,
    /// It waits for its tenant to be allowed more.
    held: bool,
    failures: u32,
    /// Of the last page, while it failed.
    error: Option<TaskError>,
    /// Workers that have said that they cannot reach it.
    unable: BTreeSet<WorkerId>,
}

#[derive(Clone, Copy, Debug)]
struct Asked {
    question: u64,
    worker: WorkerId,
    at: Now,
}

/// A worker that may be asked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lister<'a> {
    pub(super) worker: WorkerId,
    pub(super) sources: &'a [SourceRoot],
}

impl Lister<'_> {
    /// True if it may read what has to be read to list this.
    fn covers(&self, uri: &str) -> bool {
        let uri = Place::to_read(uri);
        self.sources.iter().any(|root| uri.starts_with(&root.uri_prefix))
    }
}

/// Why there is no page.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct PageFailure {
    pub(super) error: TaskError,
    /// Another attempt may succeed.
    pub(super) retryable: bool,
    /// This worker cannot reach the source; another may.
    pub(super) elsewhere: bool,
    /// It says something of the source, and counts.
    pub(super) charged: bool,
    pub(super) retry_after: Duration,
}

impl Expansions {
    /// A submission takes its tasks from here, from `cursor` on.
    pub(super) fn begin(&mut self, now: Now, id: Uuid, uri: &str, cursor: Bytes) {
        let listing = Listing {
            uri: uri.to_owned(),
            cursor,
            asked: None,
            turn: 0,
            due: now,
            held: false,
            failures: 0,
            error: None,
            unable: BTreeSet::new(),
        };
        self.listings.insert(id, listing);
        self.changed = true;
    }

    /// The listing is done, or nobody wants it any more.
    pub(super) fn end(&mut self, id: Uuid) {
        self.changed |= self.listings.remove(&id).is_some();
    }

    /// True while the submission is being listed.
    pub(super) fn lists(&self, id: Uuid) -> bool {
        self.listings.contains_key(&id)
    }

    /// Why the last page failed, if it did.
    pub(super) fn error(&self, id: Uuid) -> Option<TaskError> {
        self.listings.get(&id)?.error.clone()
    }

    /// True if it is listed and none of these workers may be asked.
    pub(super) fn unreached(&self, id: Uuid, listers: &[Lister<'_>]) -> bool {
        self.listings.get(&id).is_some_and(|listing| !listers.iter().any(|lister| listing.may_ask(lister)))
    }

    /// True if there may be questions to ask that there were not before.
    pub(super) fn changed(&self) -> bool {
        self.changed && !self.listings.is_empty()
    }

    /// Whoever may be asked has changed.
    pub(super) fn look_again(&mut self) {
        self.changed = true;
    }

    /// Time passes: what was asked for too long ago is asked for again.
    pub(super) fn tick(&mut self, now: Now) {
        let late = |listing: &Listing| listing.asked.is_some_and(|asked| now >= asked.at + PAGE_TIMEOUT);
        let late: Vec<Uuid> = self.listings.iter().filter(|(_, one)| late(one)).map(|(id, _)| *id).collect();
        for id in late {
            let message = format!("the worker sent no page within {} s", PAGE_TIMEOUT.as_secs());
            let error = TaskError { reason: TaskReason::SourceTimedOut.as_str().to_owned(), message };
            // Its last failure is seen by whoever lists it next.
            self.give_up(now, id, error);
        }
        self.changed = true;
    }

    /// A worker is gone. What it was asked is asked of others; that counts as a failure unless the worker left as it should.
    pub(super) fn worker_gone(&mut self, now: Now, worker: WorkerId, lost: bool) {
        let mut asked_of_it = Vec::new();
        for (id, listing) in &mut self.listings {
            listing.unable.remove(&worker);
            if listing.asked.is_some_and(|asked| asked.worker == worker) {
                asked_of_it.push(*id);
            }
        }
        for id in asked_of_it {
            if lost {
                let reason = TaskReason::WorkerLost.as_str().to_owned();
                self.give_up(now, id, TaskError { reason, message: "the worker that listed it was lost".to_owned() });
            } else if let Some(listing) = self.listings.get_mut(&id) {
                listing.asked = None;
            }
        }
        self.changed = true;
    }

    /// A question without an answer.
    fn give_up(&mut self, now: Now, id: Uuid, error: TaskError) {
        let Some(listing) = self.listings.get_mut(&id) else { return };
        listing.asked = None;
        listing.pause(now, error, Duration::ZERO);
        listing.failures += 1;
        self.changed = true;
    }

    /// The questions to ask now. `held`: submissions whose work may not be done now.
    pub(super) fn questions(
        &mut self,
        now: Now,
        listers: &[Lister<'_>],
        held: impl Fn(Uuid) -> bool,
    ) -> Vec<(WorkerId, Uuid, ListSource)> {
        if !std::mem::take(&mut self.changed) || listers.is_empty() {
            return Vec::new();
        }
        let mut busy: BTreeMap<WorkerId, usize> = BTreeMap::new();
        for asked in self.listings.values().filter_map(|listing| listing.asked) {
            *busy.entry(asked.worker).or_default() += 1;
        }
        let idle = |listing: &Listing| listing.asked.is_none() && listing.due <= now;
        let mut idle: Vec<(u64, Uuid)> =
            self.listings.iter().filter(|(_, one)| idle(one)).map(|(id, one)| (one.turn, *id)).collect();
        idle.sort_unstable();
        let mut questions = Vec::new();
        for (_, id) in idle {
            let Some(listing) = self.listings.get_mut(&id) else { continue };
            let able = listers.iter().filter(|lister| listing.may_ask(lister)).map(|lister| lister.worker);
            let load = |worker: &WorkerId| busy.get(worker).copied().unwrap_or(0);
            let chosen = able.filter(|worker| load(worker) < PAGES_PER_WORKER).min_by_key(load);
            let Some(worker) = chosen.filter(|_| !held(id)) else { continue };
            *busy.entry(worker).or_default() += 1;
            self.questions += 1;
            listing.turn = self.questions;
            listing.held = false;
            listing.asked = Some(Asked { question: self.questions, worker, at: now });
            let question = ListSource {
                question: self.questions,
                source_uri: listing.uri.clone(),
                cursor: listing.cursor.clone(),
                max_tasks: MAX_BATCH_TASKS,
                max_bytes: PAGE_BYTES,
                // Known to the caller.
                sources: None,
                algorithms: Vec::new(),
                traceparent: String::new(),
            };
            questions.push((worker, id, question));
        }
        questions
    }

    /// A question is answered. `None`: nobody waits for that any more.
    pub(super) fn answered(&mut self, worker: WorkerId, question: u64) -> Option<Uuid> {
        let asked =
            |listing: &Listing| listing.asked.is_some_and(|asked| asked.question == question && asked.worker == worker);
        let (id, listing) = self.listings.iter_mut().find(|(_, listing)| asked(listing))?;
        listing.asked = None;
        self.changed = true;
        Some(*id)
    }

    /// A page was taken: the next one begins at `cursor`.
    pub(super) fn advance(&mut self, id: Uuid, cursor: Bytes) {
        if let Some(listing) = self.listings.get_mut(&id) {
            (listing.cursor, listing.failures, listing.error) = (cursor, 0, None);
        }
    }

    /// There is no page. Some: nor will there be; the listing has failed.
    pub(super) fn failed(&mut self, now: Now, worker: WorkerId, id: Uuid, failure: PageFailure) -> Option<TaskError> {
        let listing = self.listings.get_mut(&id)?;
        if failure.elsewhere {
            listing.unable.insert(worker);
            listing.error = Some(failure.error);
            return None;
        }
        if !failure.retryable || failure.charged && listing.failures + 1 >= MOST_FAILURES {
            return Some(failure.error);
        }
        listing.pause(now, failure.error, failure.retry_after);
        listing.failures += u32::from(failure.charged);
        None
    }

    /// The tenant may bring no more for now. Does not count as a failure.
    pub(super) fn hold(&mut self, now: Now, id: Uuid, error: TaskError) {
        if let Some(listing) = self.listings.get_mut(&id) {
            listing.error = Some(error);
            listing.due = now + LONGEST_PAUSE;
            listing.held = true;
        }
    }

    /// What tenants may bring has changed: who was held tries again.
    pub(super) fn release_held(&mut self, now: Now) {
        for listing in self.listings.values_mut().filter(|listing| listing.held) {
            listing.due = now;
        }
        self.changed = true;
    }
}

impl Listing {
    fn may_ask(&self, lister: &Lister<'_>) -> bool {
        lister.covers(&self.uri) && !self.unable.contains(&lister.worker)
    }

    /// Not asked for for a while, the longer the more has failed. The caller counts the failure.
    fn pause(&mut self, now: Now, error: TaskError, retry_after: Duration) {
        let pause = FIRST_PAUSE.saturating_mul(1 << self.failures.min(16)).min(LONGEST_PAUSE);
        self.due = now + pause.max(retry_after.min(LONGEST_RETRY_AFTER));
        self.error = Some(error);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Uuid = Uuid::from_u128(1);
    const B: Uuid = Uuid::from_u128(2);

    fn roots(prefixes: &[&str]) -> Vec<SourceRoot> {
        let root = |prefix: &&str| SourceRoot { uri_prefix: (*prefix).to_owned(), device: 0, inode: 0 };
        prefixes.iter().map(root).collect()
    }

    fn listers(roots: &[Vec<SourceRoot>]) -> Vec<Lister<'_>> {
        roots.iter().zip(1..).map(|(sources, worker)| Lister { worker: WorkerId(worker), sources }).collect()
    }

    fn seconds(seconds: u64) -> Now {
        Duration::from_secs(seconds)
    }

    fn failure(retryable: bool) -> PageFailure {
        let error = TaskError { reason: "SOURCE_UNREADABLE".to_owned(), message: "for the test".to_owned() };
        PageFailure { error, retryable, elsewhere: false, charged: true, retry_after: Duration::ZERO }
    }

    fn cursors(questions: &[(WorkerId, Uuid, ListSource)]) -> Vec<(u64, &[u8])> {
        questions.iter().map(|(worker, _, question)| (worker.0, &*question.cursor)).collect()
    }

    #[test]
    fn one_page_is_asked_for_at_a_time_and_the_next_begins_where_it_ended() {
        let roots = [roots(&["s3://bucket/"])];
        let listers = listers(&roots);
        let mut expansions = Expansions::default();
        expansions.begin(seconds(0), A, "s3://bucket/a/", Bytes::from_static(b"stored"));
        let asked = expansions.questions(seconds(0), &listers, |_| false);
        assert_eq!(cursors(&asked), [(1, &b"stored"[..])]);
        expansions.look_again();
        assert!(expansions.questions(seconds(1), &listers, |_| false).is_empty());

        let question = asked[0].2.question;
        assert_eq!(expansions.answered(WorkerId(2), question), None, "another worker's");
        assert_eq!(expansions.answered(WorkerId(1), question), Some(A));
        assert_eq!(expansions.answered(WorkerId(1), question), None, "answered already");
        expansions.advance(A, Bytes::from_static(b"next"));
        assert_eq!(cursors(&expansions.questions(seconds(1), &listers, |_| false)), [(1, &b"next"[..])]);
        expansions.end(A);
        assert!(!expansions.lists(A));
        assert!(expansions.questions(seconds(2), &listers, |_| false).is_empty());
    }

    #[test]
    fn only_workers_that_may_read_all_of_it_are_asked_and_none_that_cannot_reach_it() {
        let roots = [roots(&["s3://bucket/a/b/", "file:///a/"]), roots(&["s3://bucket/a"]), roots(&["s3://"])];
        let listers = listers(&roots);
        let mut expansions = Expansions::default();
        expansions.begin(seconds(0), A, "s3://bucket/a/", Bytes::new());
        assert!(expansions.unreached(A, &listers[..1]));
        assert!(expansions.questions(seconds(0), &listers[..1], |_| false).is_empty());
        assert!(!expansions.unreached(A, &listers));
        for (worker, left) in [(2, true), (3, false)] {
            expansions.look_again();
            let asked = expansions.questions(seconds(0), &listers, |_| false);
            assert_eq!(cursors(&asked), [(worker, &b""[..])]);
            assert_eq!(expansions.answered(WorkerId(worker), asked[0].2.question), Some(A));
            let elsewhere = PageFailure { elsewhere: true, ..failure(true) };
            assert_eq!(expansions.failed(seconds(0), WorkerId(worker), A, elsewhere), None);
            assert_eq!(expansions.unreached(A, &listers), !left);
        }
        // It comes back with another session, and may reach it now.
        expansions.worker_gone(seconds(1), WorkerId(2), false);
        assert_eq!(cursors(&expansions.questions(seconds(1), &listers, |_| false)), [(2, &b""[..])]);
    }

    #[test]
    fn failures_pause_longer_and_longer_and_the_twentieth_in_a_row_is_the_last() {
        let roots = [roots(&["s3://"])];
        let listers = listers(&roots);
        let mut expansions = Expansions::default();
        let mut now = seconds(0);
        expansions.begin(now, A, "s3://bucket/", Bytes::new());
        let fail = |expansions: &mut Expansions, now, failure| {
            let asked = expansions.questions(now, &listers, |_| false);
            expansions.answered(WorkerId(1), asked[0].2.question).unwrap();
            expansions.failed(now, WorkerId(1), A, failure)
        };
        let mut pauses = Vec::new();
        for _ in 1..20 {
            assert_eq!(fail(&mut expansions, now, failure(true)), None);
            assert_eq!(expansions.error(A), Some(failure(true).error));
            let begun = now;
            loop {
                now += seconds(1);
                expansions.look_again();
                // Asks, and takes the question back.
                if !expansions.questions(now, &listers, |_| false).is_empty() {
                    expansions.worker_gone(now, WorkerId(1), false);
                    break;
                }
            }
            pauses.push((now - begun).as_secs());
        }
        assert_eq!(pauses[..8], [1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(fail(&mut expansions, now, failure(true)), Some(failure(true).error));

        // Success in between begins anew; what is final is final at once; and a source may ask for longer.
        expansions.begin(now, A, "s3://bucket/", Bytes::new());
        let later = PageFailure { retry_after: seconds(700), ..failure(true) };
        assert_eq!(fail(&mut expansions, now, later), None);
        expansions.look_again();
        assert!(expansions.questions(now + seconds(599), &listers, |_| false).is_empty());
        now += seconds(600);
        expansions.look_again();
        let asked = expansions.questions(now, &listers, |_| false);
        expansions.answered(WorkerId(1), asked[0].2.question).unwrap();
        expansions.advance(A, Bytes::from_static(b"x"));
        assert_eq!(expansions.error(A), None);
        assert_eq!(fail(&mut expansions, now, failure(false)), Some(failure(false).error));
    }

    #[test]
    fn what_a_lost_or_silent_worker_was_asked_is_asked_of_another_and_its_late_answer_is_nobodys() {
        let roots = [roots(&["s3://"]), roots(&["s3://"])];
        let listers = listers(&roots);
        let mut expansions = Expansions::default();
        expansions.begin(seconds(0), A, "s3://bucket/", Bytes::new());
        let first = expansions.questions(seconds(0), &listers, |_| false);
        expansions.tick(PAGE_TIMEOUT - seconds(1));
        assert!(expansions.questions(PAGE_TIMEOUT - seconds(1), &listers, |_| false).is_empty());
        expansions.tick(PAGE_TIMEOUT);
        assert_eq!(expansions.error(A).unwrap().reason, "SOURCE_TIMED_OUT");
        let again = PAGE_TIMEOUT + FIRST_PAUSE;
        expansions.tick(again);
        let second = expansions.questions(again, &listers, |_| false);
        assert_eq!(second.len(), 1);
        assert_eq!(expansions.answered(first[0].0, first[0].2.question), None);

        expansions.worker_gone(again, second[0].0, true);
        assert_eq!(expansions.error(A).unwrap().reason, "WORKER_LOST");
        expansions.tick(again + seconds(2));
        assert_eq!(expansions.questions(again + seconds(2), &listers, |_| false).len(), 1);
    }

    #[test]
    fn a_worker_has_four_questions_at_most_and_listings_take_turns() {
        let roots = [roots(&["s3://"])];
        let listers = listers(&roots);
        let mut expansions = Expansions::default();
        let ids: Vec<Uuid> = (1..=6).map(Uuid::from_u128).collect();
        for id in &ids {
            expansions.begin(seconds(0), *id, &format!("s3://bucket/{id}"), Bytes::new());
        }
        let mut turns = Vec::new();
        let mut asked = expansions.questions(seconds(0), &listers, |_| false);
        assert_eq!(asked.len(), 4);
        for _ in 0..8 {
            let (worker, _, question) = asked.remove(0);
            let id = expansions.answered(worker, question.question).unwrap();
            turns.push(id.as_u128());
            asked.extend(expansions.questions(seconds(0), &listers, |_| false));
            assert_eq!(asked.len(), 4);
        }
        assert_eq!(turns, [1, 2, 3, 4, 5, 6, 1, 2]);
    }

    #[test]
    fn what_may_not_be_done_now_is_not_asked_for() {
        let roots = [roots(&["s3://"])];
        let listers = listers(&roots);
        let mut expansions = Expansions::default();
        expansions.begin(seconds(0), A, "s3://bucket/a", Bytes::new());
        expansions.begin(seconds(0), B, "s3://bucket/b", Bytes::new());
        let asked = expansions.questions(seconds(0), &listers, |id| id == A);
        assert_eq!(asked.len(), 1);
        assert_eq!(expansions.answered(asked[0].0, asked[0].2.question), Some(B));
        expansions.hold(seconds(0), B, failure(true).error);
        assert!(expansions.questions(seconds(59), &listers, |id| id == A).is_empty());
        expansions.release_held(seconds(59));
        let asked = expansions.questions(seconds(59), &listers, |id| id == A);
        assert_eq!(asked.len(), 1, "its tenant may bring more now");
        assert_eq!(expansions.answered(asked[0].0, asked[0].2.question), Some(B));
        expansions.hold(seconds(59), B, failure(true).error);
        expansions.tick(seconds(119));
        assert_eq!(expansions.questions(seconds(119), &listers, |_| false).len(), 2);
    }
}
