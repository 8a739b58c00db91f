//! Windows by name, in this process.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use moka::sync::Cache;
use tokio::time::Instant;

use super::window::{Limit, State, Window};

/// One window that a call is counted in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    /// Whose window.
    pub name: String,
    /// Its limit.
    pub limit: Limit,
}

/// What became of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    /// It fitted in every window, and is counted in each; else in none.
    pub admitted: bool,
    /// Which of the call's windows is the tightest.
    pub which: usize,
    /// Of the window that leaves the least: of those in which it did not fit, the one that takes longest.
    pub tightest: State,
}

/// Many windows. Those that nobody asks for any more are forgotten, and above a number the least asked for are.
#[derive(Debug)]
pub struct Windows {
    made: Instant,
    windows: Cache<String, Arc<Mutex<Window>>>,
}

/// A window, who asks for it, and at which place.
type Named<'a> = (usize, &'a Ask, Arc<Mutex<Window>>);

impl Windows {
    /// None yet; `most` of them at a time, each for windows of at most `longest`.
    #[must_use]
    pub fn new(most: u64, longest: Duration) -> Self {
        Self { made: Instant::now(), windows: Cache::builder().max_capacity(most).time_to_idle(longest * 2).build() }
    }

    /// Counts one call in each of these windows if it fits in all of them. `None`: there is none.
    #[must_use]
    pub fn take(&self, asks: &[Ask]) -> Option<Taken> {
        let windows = self.windows(asks);
        let mut locked = lock_all(&windows);
        let now = self.made.elapsed();
        let looks: Vec<_> = locked.iter_mut().map(|(_, ask, window)| window.look(now, ask.limit, 1)).collect();
        let mut taken = Taken::of(looks)?;
        if taken.admitted {
            locked.iter_mut().for_each(|(_, ask, window)| window.count(now, ask.limit, 1));
        }
        taken.which = locked[taken.which].0;
        Some(taken)
    }

    /// Counts a call that somebody else has admitted.
    pub fn count(&self, asks: &[Ask]) {
        let windows = self.windows(asks);
        let now = self.made.elapsed();
        for (_, ask, window) in &mut lock_all(&windows) {
            // Forgets what is old, too.
            let _fits = window.look(now, ask.limit, 1);
            window.count(now, ask.limit, 1);
        }
    }

    /// In the order of their names, each once: two calls never wait for each other.
    fn windows<'a>(&self, asks: &'a [Ask]) -> Vec<Named<'a>> {
        let mut asks: Vec<(usize, &Ask)> = asks.iter().enumerate().collect();
        asks.sort_by(|(_, one), (_, other)| one.name.cmp(&other.name));
        asks.dedup_by(|(_, one), (_, other)| one.name == other.name);
        let window = |ask: &Ask| self.windows.get_with_by_ref(&ask.name, Arc::default);
        asks.into_iter().map(|(place, ask)| (place, ask, window(ask))).collect()
    }
}

impl Taken {
    /// Of what the windows of a call said: `Ok` where it fits. `None`: there is none.
    #[must_use]
    pub fn of(looks: impl IntoIterator<Item = Result<State, State>>) -> Option<Self> {
        let mut tightest: Option<Self> = None;
        for (which, look) in looks.into_iter().enumerate() {
            let one = match look {
                Ok(tightest) => Self { admitted: true, which, tightest },
                Err(tightest) => Self { admitted: false, which, tightest },
            };
            let tighter = |than: &Self| match (one.admitted, than.admitted) {
                (false, true) => true,
                (true, false) => false,
                (false, false) => one.tightest.reset_after > than.tightest.reset_after,
                (true, true) => one.tightest.remaining < than.tightest.remaining,
            };
            if tightest.as_ref().is_none_or(tighter) {
                tightest = Some(one);
            }
        }
        tightest
    }
}

fn lock_all<'a>(windows: &'a [Named<'a>]) -> Vec<(usize, &'a Ask, MutexGuard<'a, Window>)> {
    // No code panics while it holds one.
    let lock = |window: &'a Mutex<Window>| window.lock().unwrap_or_else(PoisonError::into_inner);
    windows.iter().map(|(place, ask, window)| (*place, *ask, lock(window))).collect()
}
