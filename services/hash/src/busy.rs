//! How long threads have been at work, those included that are in the middle of it: an object may be read for hours.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// A clock that runs as many times as fast as there are threads at work.
#[derive(Debug)]
pub(crate) struct BusyClock {
    made: Instant,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    working: u32,
    /// What all have worked, if those at work had begun when the clock was made. In nanoseconds.
    balance: i128,
}

/// A thread at work, until dropped.
#[derive(Debug)]
pub(crate) struct Working<'a>(&'a BusyClock);

impl BusyClock {
    pub(crate) fn new() -> Self {
        Self { made: Instant::now(), state: Mutex::default() }
    }

    /// A thread begins. Some 50 ns, as is the end: nothing beside the trip to a thread.
    pub(crate) fn enter(&self) -> Working<'_> {
        let (mut state, now) = self.look();
        state.working += 1;
        state.balance -= now;
        Working(self)
    }

    /// Of all threads together. Never less than before.
    pub(crate) fn read(&self) -> Duration {
        let (state, now) = self.look();
        let busy = state.balance + i128::from(state.working) * now;
        Duration::from_nanos(u64::try_from(busy).unwrap_or_default())
    }

    /// The time is read under the lock, else an end could be noted as earlier than a look that came before.
    fn look(&self) -> (MutexGuard<'_, State>, i128) {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let now = i128::try_from(self.made.elapsed().as_nanos()).unwrap_or(i128::MAX);
        (state, now)
    }
}

impl Drop for Working<'_> {
    fn drop(&mut self) {
        let (mut state, now) = self.0.look();
        state.working -= 1;
        state.balance += now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_runs_while_somebody_works_and_twice_as_fast_for_two() {
        let clock = BusyClock::new();
        assert_eq!(clock.read(), Duration::ZERO);
        let one = clock.enter();
        while clock.read().is_zero() {}
        let two = clock.enter();
        let (began, before) = (Instant::now(), clock.read());
        while began.elapsed() < Duration::from_micros(200) {}
        let (most, after) = (2 * began.elapsed(), clock.read());
        assert!(after - before >= Duration::from_micros(400), "{:?}", after - before);
        drop(one);
        drop(two);
        let (stopped, more) = (clock.read(), 2 * began.elapsed());
        assert!(stopped >= after && stopped - before <= more && most <= more);
        assert_eq!(clock.read(), stopped, "nobody works");
    }
}
