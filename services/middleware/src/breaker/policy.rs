//! When a breaker trips, and how it closes again.

use std::time::Duration;

/// Time since the breaker was made.
pub(super) type Now = Duration;

/// Parts of the window; counts older than it are forgotten part by part.
const PARTS: usize = 10;

/// When a breaker trips, and for how long.
#[derive(Clone, Debug, PartialEq)]
pub struct BreakerConfig {
    /// Failures in a row that trip it.
    pub consecutive_failures: u32,
    /// Failures among the calls of the window that trip it, as a share of them.
    pub failure_share: f64,
    /// Calls in the window below which a share says nothing.
    pub least_calls: u32,
    /// How far back calls are counted.
    pub window: Duration,
    /// How long it stays open at first; doubles with each probe that fails.
    pub open_for: Duration,
    /// The longest that it stays open.
    pub open_for_at_most: Duration,
    /// A call that was given up after it had waited this long for an answer counts as a failure.
    pub hangs_after: Duration,
}

impl Default for BreakerConfig {
    fn default() -> Self {
        Self {
            consecutive_failures: 5,
            failure_share: 0.5,
            least_calls: 20,
            window: Duration::from_secs(10),
            open_for: Duration::from_millis(200),
            open_for_at_most: Duration::from_secs(2),
            hangs_after: Duration::from_secs(1),
        }
    }
}

/// Lets one call through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ticket {
    /// Of the state that gave it.
    generation: u64,
    probe: bool,
}

/// What a breaker does with the calls that come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BreakerState {
    /// Lets them through.
    Closed,
    /// Lets one through, and refuses the others until that has ended.
    HalfOpen,
    /// Refuses them.
    Open,
}

/// What becomes of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Admission {
    Pass(Ticket),
    /// Try again after this long, at the earliest.
    Refuse(Duration),
}

/// What a breaker knows.
#[derive(Debug)]
pub(super) struct Policy {
    config: BreakerConfig,
    /// Counts the changes of state: what belongs to a state before is ignored.
    generation: u64,
    state: State,
    /// Times that it has opened since it was last closed.
    openings: u32,
}

#[derive(Debug)]
enum State {
    Closed { in_a_row: u32, window: Window },
    Open { until: Now },
    HalfOpen { probing: bool },
}

/// Calls by when they ended.
#[derive(Debug, Default)]
struct Window {
    parts: [(u32, u32); PARTS],
    /// The part that is counted in now, since the beginning.
    current: u128,
}

impl Window {
    fn record(&mut self, now: Now, length: Duration, failed: bool) {
        let part = now.as_nanos() / (length.as_nanos() / PARTS as u128).max(1);
        for passed in (self.current + 1..=part).take(PARTS) {
            self.parts[(passed % PARTS as u128) as usize] = (0, 0);
        }
        // After a long silence some parts in between were not touched: all are old.
        if part > self.current + PARTS as u128 {
            self.parts = [(0, 0); PARTS];
        }
        self.current = part.max(self.current);
        let (calls, failures) = &mut self.parts[(self.current % PARTS as u128) as usize];
        *calls = calls.saturating_add(1);
        *failures = failures.saturating_add(u32::from(failed));
    }

    fn counts(&self) -> (u32, u32) {
        self.parts.iter().fold((0, 0), |sum, part| (sum.0.saturating_add(part.0), sum.1.saturating_add(part.1)))
    }
}

impl Policy {
    pub(super) fn new(config: BreakerConfig) -> Self {
        Self { config, generation: 0, state: State::closed(), openings: 0 }
    }

    pub(super) fn config(&self) -> &BreakerConfig {
        &self.config
    }

    /// Whether a call may be made now.
    pub(super) fn admit(&mut self, now: Now) -> Admission {
        if let State::Open { until } = self.state {
            if now < until {
                return Admission::Refuse(until - now);
            }
            self.enter(State::HalfOpen { probing: false });
        }
        let generation = self.generation;
        match &mut self.state {
            State::HalfOpen { probing: true } => Admission::Refuse(self.config.open_for),
            State::HalfOpen { probing } => {
                *probing = true;
                Admission::Pass(Ticket { generation, probe: true })
            }
            _ => Admission::Pass(Ticket { generation, probe: false }),
        }
    }

    /// A call has ended. `spread` is a random number from 0 to 1. True if the breaker has just opened.
    pub(super) fn record(&mut self, now: Now, ticket: Ticket, failed: bool, spread: f64) -> bool {
        if ticket.generation != self.generation {
            return false;
        }
        match &mut self.state {
            State::Closed { in_a_row, window } => {
                window.record(now, self.config.window, failed);
                *in_a_row = if failed { *in_a_row + 1 } else { 0 };
                let (calls, failures) = window.counts();
                let share = f64::from(failures) / f64::from(calls.max(1));
                let gone = *in_a_row >= self.config.consecutive_failures;
                let unwell = calls >= self.config.least_calls && share >= self.config.failure_share;
                if failed && (gone || unwell) {
                    self.open(now, spread);
                    return true;
                }
            }
            State::HalfOpen { .. } if failed => {
                self.open(now, spread);
                return true;
            }
            State::HalfOpen { .. } => {
                self.openings = 0;
                self.enter(State::closed());
            }
            State::Open { .. } => {}
        }
        false
    }

    /// A call was given up before anything was learned of it: another may be the probe.
    pub(super) fn release(&mut self, ticket: Ticket) {
        if ticket.probe
            && ticket.generation == self.generation
            && let State::HalfOpen { probing } = &mut self.state
        {
            *probing = false;
        }
    }

    pub(super) fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed { .. })
    }

    /// What would become of a call now. Nobody need have come since the time of being open was over.
    pub(super) fn state(&self, now: Now) -> BreakerState {
        match self.state {
            State::Closed { .. } => BreakerState::Closed,
            State::Open { until } if now < until => BreakerState::Open,
            State::Open { .. } | State::HalfOpen { .. } => BreakerState::HalfOpen,
        }
    }

    fn open(&mut self, now: Now, spread: f64) {
        let doubled = self.config.open_for.saturating_mul(1 << self.openings.min(20));
        self.openings = self.openings.saturating_add(1);
        // From four fifths of it to all of it.
        let time = doubled.min(self.config.open_for_at_most).mul_f64(0.8 + 0.2 * spread.clamp(0.0, 1.0));
        self.enter(State::Open { until: now + time });
    }

    fn enter(&mut self, state: State) {
        self.generation += 1;
        self.state = state;
    }
}

impl State {
    fn closed() -> Self {
        Self::Closed { in_a_row: 0, window: Window::default() }
    }
}
