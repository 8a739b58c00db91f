//! Which batches are under way, and which must be sent again: bookkeeping without I/O.

use std::collections::VecDeque;

use super::traced::BatchTrace;
use crate::{
    limits::asked_window,
    v1::{Limits, PackedTasks},
};

/// A batch that is not acknowledged.
#[derive(Debug)]
struct Entry {
    tasks: PackedTasks,
    trace: Option<BatchTrace>,
    task_count: u64,
    bytes: u64,
}

/// The server's word contradicts what was sent and acknowledged before.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Contradiction {
    #[error("batches up to {acknowledged} were acknowledged, but the next one it wants is {next_sequence}")]
    Lost { acknowledged: u32, next_sequence: u32 },
    #[error(
        "it has batches up to {through_sequence}, but only those below {next_sequence} were sent: there is another writer"
    )]
    NeverSent { through_sequence: u32, next_sequence: u32 },
}

/// The batches of one submission that are sent and not acknowledged, and at most one that waits for room.
///
/// Sequence numbers rise by one. `sent` of the kept batches are under way on the present stream; the others follow once
/// there is room. Nothing here grows beyond the server's window by more than one batch.
#[derive(Debug)]
pub(super) struct Window {
    limits: Limits,
    /// What the server said last: less than the limit while it is short of memory.
    window_bytes: u32,
    /// The sequence number of the first kept batch.
    first: u32,
    kept: VecDeque<Entry>,
    sent: usize,
    sent_bytes: u64,
    /// Batches below this one were sent, on this stream or on one before it. The server may still store what came on a stream that
    /// is gone, and says so on this one.
    ever_sent: u32,
    /// Batches below this one were stored before this window began and are sent again only so that the server compares
    /// them: that they are stored says nothing about them yet.
    compare_below: u32,
}

impl Window {
    /// A window whose first batch is `first`, where `stored` batches exist already.
    pub(super) fn new(limits: Limits, first: u32, stored: u32) -> Self {
        let window_bytes = limits.window_bytes;
        let kept = VecDeque::new();
        Self { limits, window_bytes, first, kept, sent: 0, sent_bytes: 0, ever_sent: first, compare_below: stored }
    }

    /// The sequence number of the next new batch.
    pub(super) fn next_sequence(&self) -> u32 {
        self.first.saturating_add(u32::try_from(self.kept.len()).unwrap_or(u32::MAX))
    }

    /// True if every batch is acknowledged.
    pub(super) fn empty(&self) -> bool {
        self.kept.is_empty()
    }

    /// True if another batch may be handed in: none waits for room.
    pub(super) fn takes(&self) -> bool {
        self.sent == self.kept.len()
    }

    /// Takes a batch and gives its sequence number. What caused it is kept as long as the batch.
    pub(super) fn push(&mut self, tasks: PackedTasks, trace: Option<BatchTrace>) -> u32 {
        let sequence = self.next_sequence();
        let (task_count, bytes) = (tasks.lengths.len() as u64, batch_bytes(&tasks) as u64);
        self.kept.push_back(Entry { tasks, trace, task_count, bytes });
        sequence
    }

    /// True if a batch waits and there is room for it.
    pub(super) fn sendable(&self) -> bool {
        let Some(next) = self.kept.get(self.sent) else { return false };
        let room = self.sent < self.limits.window_batches as usize
            && self.sent_bytes + next.bytes <= u64::from(self.window_bytes);
        // One batch is always let through, or a window smaller than a batch would never move.
        room || self.sent == 0
    }

    /// The next batch to send, with its sequence number and what caused it; from now on it is under way.
    pub(super) fn send(&mut self) -> Option<(u32, PackedTasks, String)> {
        if !self.sendable() {
            return None;
        }
        let entry = self.kept.get(self.sent)?;
        let sequence = self.first.saturating_add(u32::try_from(self.sent).unwrap_or(u32::MAX));
        self.sent += 1;
        self.sent_bytes += entry.bytes;
        self.ever_sent = self.ever_sent.max(sequence.saturating_add(1));
        let traceparent = entry.trace.as_ref().map(|trace| trace.traceparent().to_owned()).unwrap_or_default();
        Some((sequence, entry.tasks.clone(), traceparent))
    }

    /// The server has committed every batch up to this one, and from now on so many bytes should be under way; 0: as many
    /// as the limits say. Gives the number of newly acknowledged tasks.
    pub(super) fn accept(&mut self, through_sequence: u32, window_bytes: u32) -> Result<u64, Contradiction> {
        if through_sequence >= self.ever_sent.max(self.compare_below) {
            return Err(Contradiction::NeverSent { through_sequence, next_sequence: self.ever_sent });
        }
        self.window_bytes = asked_window(window_bytes, self.limits.window_bytes);
        let mut tasks = 0;
        while self.first <= through_sequence && (self.sent > 0 || self.sent_before()) {
            tasks += self.drop_first();
        }
        Ok(tasks)
    }

    /// A new stream was opened, on which nothing is under way yet: drops what is stored, and all else is to be sent
    /// again. Gives the number of newly acknowledged tasks.
    pub(super) fn reopen(&mut self, next_sequence: u32, limits: Limits) -> Result<u64, Contradiction> {
        self.limits = limits;
        self.window_bytes = limits.window_bytes;
        let end = self.next_sequence();
        if next_sequence < self.first.max(self.compare_below) {
            let acknowledged = self.first.max(self.compare_below).saturating_sub(1);
            return Err(Contradiction::Lost { acknowledged, next_sequence });
        }
        if next_sequence > end.max(self.compare_below) {
            let through_sequence = next_sequence.saturating_sub(1);
            return Err(Contradiction::NeverSent { through_sequence, next_sequence: end });
        }
        let mut tasks = 0;
        // While there is something to compare, everything is sent again: to repeat a stored batch changes nothing.
        while self.first >= self.compare_below && self.first < next_sequence && !self.kept.is_empty() {
            tasks += self.drop_first();
        }
        self.sent = 0;
        self.sent_bytes = 0;
        Ok(tasks)
    }

    /// True if the first kept batch was sent on a stream before this one, to be stored.
    fn sent_before(&self) -> bool {
        self.first >= self.compare_below && self.first < self.ever_sent
    }

    fn drop_first(&mut self) -> u64 {
        let Some(entry) = self.kept.pop_front() else { return 0 };
        self.first = self.first.saturating_add(1);
        if self.sent > 0 {
            self.sent -= 1;
            self.sent_bytes -= entry.bytes;
        }
        entry.task_count
    }
}

/// What a batch counts against `Limits.max_batch_bytes`: inline data, URIs, names and expected digests.
pub(super) fn batch_bytes(tasks: &PackedTasks) -> usize {
    tasks.data.len() + tasks.names.as_ref().map_or(0, |names| names.data.len()) + tasks.expected.len()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;

    fn limits(window_batches: u32, window_bytes: u32) -> Limits {
        Limits { max_batch_tasks: 10, max_batch_bytes: 100, window_batches, window_bytes }
    }

    fn batch(bytes: usize) -> PackedTasks {
        PackedTasks { data: Bytes::from(vec![7; bytes]), lengths: vec![bytes as u32], ..PackedTasks::default() }
    }

    fn send_all(window: &mut Window) -> Vec<u32> {
        std::iter::from_fn(|| window.send()).map(|(sequence, ..)| sequence).collect()
    }

    #[test]
    fn a_batch_waits_when_the_window_is_full_of_batches() {
        let mut window = Window::new(limits(2, 1000), 0, 0);
        for _ in 0..3 {
            window.push(batch(1), None);
        }
        assert_eq!(send_all(&mut window), [0, 1]);
        assert!(!window.takes());
        assert_eq!(window.accept(0, 0), Ok(1));
        assert_eq!(send_all(&mut window), [2]);
        assert!(window.takes());
    }

    #[test]
    fn a_batch_waits_when_the_window_is_full_of_bytes_but_one_is_always_let_through() {
        let mut window = Window::new(limits(9, 10), 0, 0);
        window.push(batch(50), None);
        assert_eq!(send_all(&mut window), [0]);
        window.push(batch(1), None);
        assert_eq!(send_all(&mut window), [0; 0]);
        assert_eq!(window.accept(0, 0), Ok(1));
        assert_eq!(send_all(&mut window), [1]);
    }

    #[test]
    fn a_server_that_is_short_of_memory_makes_the_window_smaller_for_a_while() {
        let mut window = Window::new(limits(9, 10), 0, 0);
        for _ in 0..3 {
            window.push(batch(4), None);
        }
        assert_eq!(send_all(&mut window), [0, 1]);
        assert_eq!(window.accept(0, 5), Ok(1));
        assert_eq!(send_all(&mut window), [0; 0], "4 of 5 bytes are under way");
        assert_eq!(window.accept(1, 5), Ok(1));
        window.push(batch(4), None);
        assert_eq!(send_all(&mut window), [2]);
        assert_eq!(window.accept(2, 0), Ok(1));
        window.push(batch(4), None);
        assert_eq!(send_all(&mut window), [3, 4]);
        assert_eq!(window.reopen(3, limits(9, 10)), Ok(0));
        assert_eq!(send_all(&mut window), [3, 4], "a new stream begins with what the limits say");
    }

    #[test]
    fn after_a_reconnect_what_is_not_stored_is_sent_again_and_what_is_stored_is_not() {
        let mut window = Window::new(limits(9, 1000), 0, 0);
        for _ in 0..4 {
            window.push(batch(1), None);
        }
        assert_eq!(send_all(&mut window), [0, 1, 2, 3]);
        assert_eq!(window.accept(0, 0), Ok(1));
        assert_eq!(window.reopen(2, limits(9, 1000)), Ok(1));
        assert_eq!(send_all(&mut window), [2, 3]);
    }

    #[test]
    fn what_came_on_a_stream_that_is_gone_may_be_acknowledged_on_the_next_before_it_is_sent_again() {
        let mut window = Window::new(limits(9, 1000), 0, 0);
        for _ in 0..5 {
            window.push(batch(1), None);
        }
        assert_eq!(send_all(&mut window), [0, 1, 2, 3, 4]);
        assert_eq!(window.reopen(1, limits(9, 1000)), Ok(1));
        assert_eq!(window.send().map(|(sequence, ..)| sequence), Some(1));
        assert_eq!(window.accept(3, 0), Ok(3));
        assert_eq!(send_all(&mut window), [4]);
        let another = Contradiction::NeverSent { through_sequence: 5, next_sequence: 5 };
        assert_eq!(window.accept(5, 0), Err(another));
        assert_eq!(window.accept(4, 0), Ok(1));
        assert!(window.empty() && window.takes());
    }

    #[test]
    fn a_server_that_lost_an_acknowledged_batch_is_found_out() {
        let mut window = Window::new(limits(9, 1000), 0, 0);
        window.push(batch(1), None);
        send_all(&mut window);
        assert_eq!(window.accept(0, 0), Ok(1));
        let lost = Contradiction::Lost { acknowledged: 0, next_sequence: 0 };
        assert_eq!(window.reopen(0, limits(9, 1000)), Err(lost));
    }

    #[test]
    fn a_server_that_has_what_was_never_sent_is_found_out() {
        let mut window = Window::new(limits(9, 1000), 5, 5);
        window.push(batch(1), None);
        let another = Contradiction::NeverSent { through_sequence: 5, next_sequence: 5 };
        assert_eq!(window.accept(5, 0), Err(another));
        let another = Contradiction::NeverSent { through_sequence: 6, next_sequence: 6 };
        assert_eq!(window.reopen(7, limits(9, 1000)), Err(another));
        assert_eq!(window.reopen(6, limits(9, 1000)), Ok(1));
        assert!(window.empty());
    }

    #[test]
    fn stored_batches_that_are_compared_are_sent_again_even_after_a_reconnect() {
        let mut window = Window::new(limits(9, 1000), 0, 2);
        for _ in 0..3 {
            window.push(batch(1), None);
        }
        assert_eq!(send_all(&mut window), [0, 1, 2]);
        assert_eq!(window.reopen(3, limits(9, 1000)), Ok(0));
        assert_eq!(window.accept(2, 0), Ok(0), "nothing was compared on this stream");
        assert_eq!(send_all(&mut window), [0, 1, 2]);
        assert_eq!(window.accept(2, 0), Ok(3));
        assert!(window.empty());
    }

    #[derive(Clone, Debug)]
    enum Step {
        Push(usize),
        Send,
        Arrive,
        Commit,
        HearAccepted,
        /// What the server has taken and not committed: it still commits that, or its process died too.
        Reconnect {
            forgets: bool,
        },
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            3 => (0..60_usize).prop_map(Step::Push),
            4 => Just(Step::Send),
            4 => Just(Step::Arrive),
            3 => Just(Step::Commit),
            3 => Just(Step::HearAccepted),
            1 => any::<bool>().prop_map(|forgets| Step::Reconnect { forgets }),
        ]
    }

    proptest! {
        /// A server that commits in order, and forgets what is under way when the connection breaks, or does not: whatever happens,
        /// it sees every batch once, in order, with its own tasks, never more at a time than the window allows, and at the end
        /// everything is acknowledged.
        #[test]
        fn whatever_breaks_every_batch_is_stored_once_in_order(
            steps in proptest::collection::vec(step(), 0..400), window_batches in 1..6_u32, window_bytes in 1..200_u32,
            advice in 0..300_u32,
        ) {
            let limits = limits(window_batches, window_bytes);
            let mut window = Window::new(limits, 0, 0);
            let (mut pushed, mut wire, mut received, mut stored) = (Vec::new(), VecDeque::new(), VecDeque::new(), Vec::new());
            let mut acknowledged = 0_u64;
            let drain = std::iter::repeat_n([Step::Send, Step::Arrive, Step::Commit, Step::HearAccepted], 2000).flatten();
            for step in steps.into_iter().chain([Step::Reconnect { forgets: true }]).chain(drain) {
                match step {
                    Step::Push(bytes) => if window.takes() {
                        let sequence = window.push(batch(bytes), None);
                        prop_assert_eq!(sequence as usize, pushed.len());
                        pushed.push(bytes);
                    },
                    Step::Send => if let Some((sequence, tasks, _)) = window.send() {
                        wire.push_back((sequence, tasks.data.len()));
                        prop_assert!(window.sent <= window_batches as usize);
                        prop_assert!(window.sent == 1 || window.sent_bytes <= u64::from(window_bytes));
                    },
                    Step::Arrive => if let Some((sequence, bytes)) = wire.pop_front() {
                        let next = stored.len() + received.len();
                        prop_assert!(sequence as usize <= next, "no gap");
                        // What is less is a repeat.
                        if sequence as usize == next {
                            received.push_back((sequence, bytes));
                        }
                    },
                    Step::Commit => if let Some((sequence, bytes)) = received.pop_front() {
                        prop_assert_eq!(sequence as usize, stored.len());
                        stored.push(bytes);
                    },
                    Step::HearAccepted => if let Some(through) = stored.len().checked_sub(1) {
                        acknowledged += window.accept(through as u32, advice).expect("no contradiction");
                    },
                    Step::Reconnect { forgets } => {
                        wire.clear();
                        if forgets {
                            received.clear();
                        }
                        acknowledged += window.reopen(stored.len() as u32, limits).expect("no contradiction");
                    }
                }
                prop_assert!(window.kept.len() <= window_batches as usize + 1);
            }
            prop_assert!(window.empty());
            prop_assert_eq!(acknowledged as usize, pushed.len());
            prop_assert_eq!(stored, pushed);
        }
    }
}
