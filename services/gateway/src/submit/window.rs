//! The batches of a stream that were passed on and not yet answered, and the room that is left.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
};

use hashmesh::limits::{WINDOW_BATCHES, WINDOW_BYTES};
use tokio::sync::Notify;

/// Counts what is under way on one stream. A client that keeps to its window never waits here.
#[derive(Debug)]
pub(super) struct Window {
    under_way: Mutex<UnderWay>,
    /// Something was answered. One waits at a time: for room, or for the end.
    answered: Notify,
}

#[derive(Debug, Default)]
struct UnderWay {
    /// Sequence and bytes, in the order they were passed on.
    batches: VecDeque<(u32, u32)>,
    bytes: u64,
}

impl Window {
    pub(super) fn new() -> Self {
        Self { under_way: Mutex::default(), answered: Notify::new() }
    }

    /// Waits until another batch of this size may be passed on. A batch alone always may.
    pub(super) async fn room(&self, bytes: u32) {
        self.until(|under_way| {
            let full = under_way.batches.len() >= WINDOW_BATCHES as usize
                || under_way.bytes + u64::from(bytes) > u64::from(WINDOW_BYTES);
            under_way.batches.is_empty() || !full
        })
        .await;
    }

    /// Waits until everything is answered.
    pub(super) async fn empty(&self) {
        self.until(|under_way| under_way.batches.is_empty()).await;
    }

    /// A batch is passed on.
    pub(super) fn passed_on(&self, sequence: u32, bytes: u32) {
        let mut under_way = self.lock();
        under_way.batches.push_back((sequence, bytes));
        under_way.bytes += u64::from(bytes);
    }

    /// Every batch up to this one is accepted.
    pub(super) fn accepted(&self, through_sequence: u32) {
        self.answer(|sequence| sequence <= through_sequence, usize::MAX);
    }

    /// This batch is refused, once.
    pub(super) fn rejected(&self, refused: u32) {
        self.answer(|sequence| sequence == refused, 1);
    }

    /// Takes off the first `most` batches that are answered.
    fn answer(&self, answers: impl Fn(u32) -> bool, most: usize) {
        let mut under_way = self.lock();
        let UnderWay { batches, bytes } = &mut *under_way;
        let mut left = most;
        batches.retain(|(sequence, size)| {
            let answered = left > 0 && answers(*sequence);
            if answered {
                left -= 1;
                *bytes -= u64::from(*size);
            }
            !answered
        });
        drop(under_way);
        // Remembers that it was called if nobody waits yet.
        self.answered.notify_one();
    }

    async fn until(&self, reached: impl Fn(&UnderWay) -> bool) {
        while !reached(&self.lock()) {
            self.answered.notified().await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, UnderWay> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    #[test]
    fn sixty_four_batches_are_under_way_and_the_next_waits_for_an_answer() {
        let window = Window::new();
        for sequence in 0..WINDOW_BATCHES {
            assert!(window.room(1).now_or_never().is_some());
            window.passed_on(sequence, 1);
        }
        assert!(window.room(1).now_or_never().is_none());
        window.accepted(0);
        assert!(window.room(1).now_or_never().is_some());
    }

    #[test]
    fn bytes_are_bounded_too_but_one_batch_alone_always_passes() {
        let window = Window::new();
        assert!(window.room(u32::MAX).now_or_never().is_some());
        window.passed_on(0, WINDOW_BYTES - 10);
        assert!(window.room(10).now_or_never().is_some());
        assert!(window.room(11).now_or_never().is_none());
        window.rejected(0);
        assert!(window.room(11).now_or_never().is_some());
    }

    #[test]
    fn a_refusal_answers_one_batch_and_an_acceptance_all_up_to_it() {
        let window = Window::new();
        for sequence in [0, 1, 2, 2] {
            window.passed_on(sequence, 5);
        }
        window.rejected(2);
        assert_eq!(window.lock().batches, [(0, 5), (1, 5), (2, 5)]);
        window.accepted(1);
        assert_eq!(window.lock().bytes, 5);
        assert!(window.empty().now_or_never().is_none());
        window.accepted(2);
        assert!(window.empty().now_or_never().is_some());
        assert_eq!(window.lock().bytes, 0);
    }
}
