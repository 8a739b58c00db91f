//! Failures that come again and again: logged when they begin, now and then while they go on, and when they are over.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// A line says how many there were since the last one.
const EVERY: Duration = Duration::from_secs(60);

/// Something that is tried again and again. What fails and works by turns makes no more lines than what only fails.
///
/// ```ignore
/// match ask().await {
///     Ok(_) if again.fine() => tracing::info!("it answers again"),
///     Ok(_) => {}
///     Err(error) => if let Some(left_out) = again.failed() {
///         tracing::warn!(%error, left_out, "it does not answer");
///     }
/// }
/// ```
#[derive(Debug)]
pub struct Repeated {
    /// Lines of each minute.
    most: u32,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// When the first line of the last minute was logged that has any.
    began: Option<Instant>,
    lines: u32,
    left_out: u64,
    /// The last line said that it fails.
    said: bool,
}

impl Repeated {
    /// For one thing that fails: a line a minute. Nothing has failed yet.
    #[must_use]
    pub const fn new() -> Self {
        Self::at_most(1)
    }

    /// For what different people may cause for different reasons, as often as they like: so many lines a minute.
    #[must_use]
    pub const fn at_most(most: u32) -> Self {
        Self { most, state: Mutex::new(State { began: None, lines: 0, left_out: 0, said: false }) }
    }

    /// It has failed. `Some`: to be logged, with the number of failures since the last line that were not.
    #[must_use]
    pub fn failed(&self) -> Option<u64> {
        self.failed_at(Instant::now())
    }

    fn failed_at(&self, now: Instant) -> Option<u64> {
        let mut state = self.lock();
        if state.began.is_none_or(|began| now.saturating_duration_since(began) >= EVERY) {
            (state.began, state.lines) = (Some(now), 0);
        }
        if state.lines >= self.most {
            state.left_out += 1;
            return None;
        }
        state.lines += 1;
        state.said = true;
        Some(std::mem::take(&mut state.left_out))
    }

    /// It has worked. `true`: to be logged, since the last line said otherwise.
    #[must_use]
    pub fn fine(&self) -> bool {
        std::mem::take(&mut self.lock().said)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No code panics while it holds the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Repeated {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_what_many_cause_the_first_few_of_each_minute_are_logged() {
        let (many, began) = (Repeated::at_most(3), Instant::now());
        let failed = |second| many.failed_at(began + Duration::from_secs(second));
        assert_eq!((0..62).filter_map(failed).collect::<Vec<_>>(), [0, 0, 0, 57, 0]);
    }

    #[test]
    fn failures_are_logged_at_their_beginning_once_a_minute_and_at_their_end() {
        let (again, began) = (Repeated::new(), Instant::now());
        let failed = |second| again.failed_at(began + Duration::from_secs(second));
        assert!(!again.fine(), "it never failed");
        assert_eq!((0..150).filter_map(failed).collect::<Vec<_>>(), [0, 59, 59]);
        assert!(again.fine() && !again.fine());
    }

    #[test]
    fn what_fails_and_works_by_turns_makes_two_lines_a_minute() {
        let (again, began) = (Repeated::new(), Instant::now());
        let lines = (0..120).map(|second| {
            let failed = again.failed_at(began + Duration::from_secs(second)).is_some();
            u32::from(failed) + u32::from(again.fine())
        });
        assert_eq!(lines.sum::<u32>(), 4);
    }
}
