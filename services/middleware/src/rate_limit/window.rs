//! One sliding window.

use std::{collections::VecDeque, time::Duration};

/// Parts of a window. What is counted too long is one of them at most.
pub const PARTS: u32 = 120;

/// So many calls within so much time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// Calls within the window.
    pub calls: u32,
    /// Its length. At least [`PARTS`] milliseconds.
    pub window: Duration,
}

/// How much of a limit is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct State {
    /// Of the limit.
    pub calls: u32,
    /// Calls that would be admitted now.
    pub remaining: u32,
    /// When more will be: for a call that does not fit, when it would; else when the oldest is forgotten.
    pub reset_after: Duration,
}

/// The calls of a window's length.
#[derive(Clone, Debug, Default)]
pub struct Window {
    /// The parts in which there were calls, oldest first: which part since the beginning of time, and how many calls.
    parts: VecDeque<(u64, u32)>,
    total: u64,
}

impl State {
    /// [`reset_after`](Self::reset_after) in seconds, rounded up: whoever waits that long does not come too early.
    #[must_use]
    pub fn reset_seconds(&self) -> u64 {
        u64::try_from(self.reset_after.as_millis().div_ceil(1_000)).unwrap_or(u64::MAX)
    }

    /// What an answer says of a limit: the names of headers, and their values.
    #[must_use]
    pub fn headers(&self) -> [(&'static str, u64); 3] {
        [
            ("ratelimit-limit", self.calls.into()),
            ("ratelimit-remaining", self.remaining.into()),
            ("ratelimit-reset", self.reset_seconds()),
        ]
    }
}

impl Limit {
    /// So many a minute.
    #[must_use]
    pub const fn per_minute(calls: u32) -> Self {
        Self { calls, window: Duration::from_secs(60) }
    }

    fn part(&self) -> u64 {
        let part = self.window.as_millis() / u128::from(PARTS);
        u64::try_from(part).unwrap_or(u64::MAX).max(1)
    }
}

impl Window {
    /// Whether `cost` more calls fit, `now` since the beginning of time; nothing is counted.
    pub fn look(&mut self, now: Duration, limit: Limit, cost: u32) -> Result<State, State> {
        self.forget(now, limit);
        let counted = self.total.saturating_add(u64::from(cost));
        let over = counted.saturating_sub(u64::from(limit.calls));
        let left = u64::from(limit.calls).saturating_sub(if over == 0 { counted } else { self.total });
        let state = State {
            calls: limit.calls,
            remaining: u32::try_from(left).unwrap_or(u32::MAX),
            reset_after: self.free_after(now, limit, over.max(1)),
        };
        if over == 0 { Ok(state) } else { Err(state) }
    }

    /// Counts `cost` calls, whether or not they fit.
    pub fn count(&mut self, now: Duration, limit: Limit, cost: u32) {
        let current = millis(now) / limit.part();
        match self.parts.back_mut() {
            // A clock that went back counts in the newest part.
            Some((part, count)) if *part >= current => *count = count.saturating_add(cost),
            _ => self.parts.push_back((current, cost)),
        }
        self.total = self.total.saturating_add(u64::from(cost));
    }

    fn forget(&mut self, now: Duration, limit: Limit) {
        let current = millis(now) / limit.part();
        while let Some((part, count)) = self.parts.front().copied() {
            if part + u64::from(PARTS) >= current {
                break;
            }
            self.parts.pop_front();
            self.total = self.total.saturating_sub(u64::from(count));
        }
    }

    /// When the oldest `calls` will be forgotten.
    fn free_after(&self, now: Duration, limit: Limit, calls: u64) -> Duration {
        let mut freed = 0;
        for (part, count) in &self.parts {
            freed += u64::from(*count);
            if freed >= calls {
                let forgotten = (part + u64::from(PARTS) + 1) * limit.part();
                return Duration::from_millis(forgotten.saturating_sub(millis(now)));
            }
        }
        // More than was ever counted: it never fits.
        limit.window
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
