//! Who gets a place.

use std::{collections::HashMap, sync::Arc, time::Duration};

/// Time since the policy was made.
pub(super) type Now = Duration;

/// A caller counts as one of those who share for this long after its last call.
const SHARES_FOR: Duration = Duration::from_secs(1);
/// The number of places shrinks once in this time, however many calls say the same: they were all admitted before.
const SHRINKS_EVERY: Duration = Duration::from_millis(100);
/// What remains of the places where the service behind is overloaded.
const SHRINKS_TO: f64 = 0.9;
/// Callers that are told apart at a time. Further ones share one share.
const MOST_CALLERS: usize = 10_000;

/// How many places there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConcurrencyConfig {
    /// At most; and at first.
    pub most: usize,
    /// At least, whatever the service behind says.
    pub least: usize,
}

/// What is known of who uses which places.
#[derive(Debug)]
pub(super) struct Policy {
    config: ConcurrencyConfig,
    /// Places there are now.
    places: f64,
    taken: usize,
    waiting: usize,
    callers: HashMap<Arc<str>, Caller>,
    swept: Now,
    shrunk: Option<Now>,
}

#[derive(Debug, Default)]
struct Caller {
    taken: usize,
    seen: Now,
}

impl Policy {
    pub(super) fn new(config: ConcurrencyConfig) -> Self {
        let most = config.most.max(1);
        let config = ConcurrencyConfig { most, least: config.least.clamp(1, most) };
        Self {
            config,
            places: to_float(most),
            taken: 0,
            waiting: 0,
            callers: HashMap::new(),
            swept: Duration::ZERO,
            shrunk: None,
        }
    }

    /// A place for a call; whose it is counted as. `None`: there is none.
    pub(super) fn admit(&mut self, now: Now, caller: &Arc<str>) -> Option<Arc<str>> {
        self.sweep(now);
        let known = self.callers.contains_key(caller) || self.callers.len() < MOST_CALLERS;
        let caller: Arc<str> = if known { Arc::clone(caller) } else { Arc::from("") };
        self.callers.entry(Arc::clone(&caller)).or_default().seen = now;

        let places = self.places();
        let sharing = self.callers.len();
        let (share, quarter) = (places.div_ceil(sharing), places.div_ceil(4));
        let mine = self.callers.get(&caller).map_or(0, |caller| caller.taken);
        let free_below = match (mine < share, sharing > 1) {
            (true, true) => places + quarter,
            (false, true) => places.saturating_sub(quarter).max(1),
            (_, false) => places,
        };
        if self.taken >= free_below {
            return None;
        }
        self.taken += 1;
        self.callers.entry(Arc::clone(&caller)).or_default().taken += 1;
        Some(caller)
    }

    /// True if a call may wait for a place: as many may as there are places, so that each waits about as long as a call
    /// takes.
    pub(super) fn wait(&mut self) -> bool {
        let may = self.waiting < self.places();
        self.waiting += usize::from(may);
        may
    }

    /// A call waits no more.
    pub(super) fn waited(&mut self) {
        self.waiting = self.waiting.saturating_sub(1);
    }

    /// A call has ended.
    pub(super) fn release(&mut self, now: Now, caller: &Arc<str>, overloaded: bool) {
        let full = self.taken >= self.places();
        self.taken = self.taken.saturating_sub(1);
        if let Some(caller) = self.callers.get_mut(caller) {
            caller.taken = caller.taken.saturating_sub(1);
            caller.seen = now;
        }
        if overloaded {
            self.shrink(now);
        } else if full {
            self.places = (self.places + 1.0 / self.places).min(to_float(self.config.most));
        }
    }

    /// Places there are now.
    pub(super) fn places(&self) -> usize {
        // Between `least` and `most`, which came from a `usize`.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let places = self.places as usize;
        places.clamp(self.config.least, self.config.most)
    }

    pub(super) fn taken(&self) -> usize {
        self.taken
    }

    #[cfg(test)]
    pub(super) fn taken_by(&self, caller: &str) -> usize {
        self.callers.get(caller).map_or(0, |caller| caller.taken)
    }

    fn shrink(&mut self, now: Now) {
        if self.shrunk.is_some_and(|shrunk| now < shrunk + SHRINKS_EVERY) {
            return;
        }
        self.shrunk = Some(now);
        // What is not used was not too much.
        let used = self.places.min(to_float(self.taken + 1));
        self.places = (used * SHRINKS_TO).max(to_float(self.config.least));
    }

    fn sweep(&mut self, now: Now) {
        if now < self.swept + SHARES_FOR / 4 {
            return;
        }
        self.swept = now;
        self.callers.retain(|_, caller| caller.taken > 0 || now < caller.seen + SHARES_FOR);
    }
}

fn to_float(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}
