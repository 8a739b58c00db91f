//! The batches of a stream that were passed on and not yet answered, and the room that is left.
//!
//! What was passed on and finds no memory at the Queue waits in transports, so a stream begins with a small window: with its
//! first answer the Queue says how large it may be, and with each later one again.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
};

use hashmesh::limits::{WINDOW_BATCHES, WINDOW_BYTES, asked_window};
use tokio::sync::Notify;

/// Bytes under way before the Queue has answered anything. It answers within a few milliseconds, if it has memory.
const FIRST_WINDOW_BYTES: u32 = 1024 * 1024;

/// Counts what is under way on one stream. A client that keeps to its window waits here only for the first answer.
#[derive(Debug)]
pub(super) struct Window {
    under_way: Mutex<UnderWay>,
    /// Something was answered. One waits at a time: for room, or for the end.
    answered: Notify,
}

#[derive(Debug)]
struct UnderWay {
    /// Sequence and bytes, in the order they were passed on.
    batches: VecDeque<(u32, u32)>,
    bytes: u64,
    window_bytes: u32,
}

impl Window {
    pub(super) fn new() -> Self {
        let under_way = UnderWay { batches: VecDeque::new(), bytes: 0, window_bytes: FIRST_WINDOW_BYTES };
        Self { under_way: Mutex::new(under_way), answered: Notify::new() }
    }

    /// Waits until another batch of this size may be passed on. A batch alone always may.
    pub(super) async fn room(&self, bytes: u32) {
        self.until(|under_way| {
            let full = under_way.batches.len() >= WINDOW_BATCHES as usize
                || under_way.bytes + u64::from(bytes) > u64::from(under_way.window_bytes);
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

    /// Every batch up to this one is accepted. From now on so many bytes may be under way; 0: as many as the limits say.
    pub(super) fn accepted(&self, through_sequence: u32, window_bytes: u32) {
        self.lock().window_bytes = asked_window(window_bytes, WINDOW_BYTES);
        self.answer(|sequence| sequence <= through_sequence, usize::MAX);
    }

    /// This batch is refused, once.
    pub(super) fn rejected(&self, refused: u32) {
        self.answer(|sequence| sequence == refused, 1);
    }

    /// Takes off the first `most` batches that are answered.
    fn answer(&self, answers: impl Fn(u32) -> bool, most: usize) {
        let mut under_way = self.lock();
        let UnderWay { batches, bytes, .. } = &mut *under_way;
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
        window.accepted(0, 0);
        assert!(window.room(1).now_or_never().is_some());
    }

    #[test]
    fn bytes_are_bounded_too_but_one_batch_alone_always_passes() {
        let window = Window::new();
        assert!(window.room(u32::MAX).now_or_never().is_some());
        window.accepted(0, 0);
        window.passed_on(0, WINDOW_BYTES - 10);
        assert!(window.room(10).now_or_never().is_some());
        assert!(window.room(11).now_or_never().is_none());
        window.rejected(0);
        assert!(window.room(11).now_or_never().is_some());
    }

    #[test]
    fn a_window_begins_small_and_is_as_large_as_the_queue_says() {
        let window = Window::new();
        window.passed_on(0, FIRST_WINDOW_BYTES);
        assert!(window.room(1).now_or_never().is_none());
        window.accepted(0, 0);
        window.passed_on(1, FIRST_WINDOW_BYTES);
        assert!(window.room(WINDOW_BYTES - FIRST_WINDOW_BYTES).now_or_never().is_some());
        window.passed_on(2, 100);
        window.accepted(1, 150);
        assert!(window.room(50).now_or_never().is_some());
        assert!(window.room(51).now_or_never().is_none());
        window.passed_on(3, 50);
        window.accepted(2, u32::MAX);
        assert!(window.room(WINDOW_BYTES - 50).now_or_never().is_some());
        assert!(window.room(WINDOW_BYTES - 49).now_or_never().is_none());
    }

    #[test]
    fn a_refusal_answers_one_batch_and_an_acceptance_all_up_to_it() {
        let window = Window::new();
        for sequence in [0, 1, 2, 2] {
            window.passed_on(sequence, 5);
        }
        window.rejected(2);
        assert_eq!(window.lock().batches, [(0, 5), (1, 5), (2, 5)]);
        window.accepted(1, 0);
        assert_eq!(window.lock().bytes, 5);
        assert!(window.empty().now_or_never().is_none());
        window.accepted(2, 0);
        assert!(window.empty().now_or_never().is_some());
        assert_eq!(window.lock().bytes, 0);
    }
}
