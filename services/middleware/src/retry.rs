//! A budget for repeats. A call that failed without an answer may be made again, but not by everybody at once: when a service
//! fails for all, repeats would double what it gets just then. So repeats may be a fifth of the calls, and a few in any case.
//!
//! Counted without a clock: each call earns a fifth of a repeat, up to [`MOST`] of them (after Finagle's and Linkerd's retry
//! budgets).

use std::sync::atomic::{AtomicU32, Ordering};

/// Repeats that may be saved up; as many are there at first.
pub const MOST: u32 = 20;
/// Calls that earn a repeat.
pub const CALLS_PER_REPEAT: u32 = 5;

/// The budget of all calls to one service.
#[derive(Debug)]
pub struct RetryBudget {
    /// In calls.
    saved: AtomicU32,
}

impl Default for RetryBudget {
    fn default() -> Self {
        Self { saved: AtomicU32::new(MOST * CALLS_PER_REPEAT) }
    }
}

impl RetryBudget {
    /// A call is made for the first time.
    pub fn earn(&self) {
        let earned = |saved: u32| (saved < MOST * CALLS_PER_REPEAT).then_some(saved + 1);
        // Full is as good.
        let _full = self.saved.fetch_update(Ordering::Relaxed, Ordering::Relaxed, earned);
    }

    /// Whether a call may be made again now.
    #[must_use]
    pub fn spend(&self) -> bool {
        let spent = |saved: u32| saved.checked_sub(CALLS_PER_REPEAT);
        self.saved.fetch_update(Ordering::Relaxed, Ordering::Relaxed, spent).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_calls_are_repeated_in_any_case_and_of_many_that_fail_a_fifth() {
        let budget = RetryBudget::default();
        let repeated = (0..1_000).filter(|_| {
            budget.earn();
            budget.spend()
        });
        let repeated = repeated.count();
        assert!((215..=225).contains(&repeated), "{repeated}");
    }

    #[test]
    fn what_is_saved_up_is_bounded() {
        let budget = RetryBudget::default();
        (0..10_000).for_each(|_| budget.earn());
        assert_eq!((0..1_000).filter(|_| budget.spend()).count(), MOST as usize);
        budget.earn();
        assert!(!budget.spend());
        (1..CALLS_PER_REPEAT).for_each(|_| budget.earn());
        assert!(budget.spend() && !budget.spend());
    }
}
