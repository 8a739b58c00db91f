//! How many calls are under way at a time, and whose. What is above is refused at once, so that a refusal costs next to
//! nothing and what was admitted finishes.
//!
//! - [`policy`]: who gets a place. A pure state that is told the time.
//! - [`service`]: the tower layer. A place is held to the end of the answer's body.
//!
//! As many calls wait for a place as there are places, each about as long as a call takes, so that none is empty between two
//! calls; all others are refused at once: a longer queue in front of a service that cannot keep up makes every answer late
//! and none sooner. The number of places follows what the service behind can take: it shrinks by a tenth when that says that it is overloaded, and grows
//! by about one place per round of answers while all are used (additive increase, multiplicative decrease, as in TCP; D. Chiu
//! and R. Jain, 1989). Latency is no signal here: a call that waits for its outcomes is slow and costs nothing.
//!
//! Places are shared by callers. Whoever has less than an equal share of them gets one even where all are taken, a quarter
//! of them more at most; whoever has more leaves that quarter free while there are others. So one caller alone uses
//! everything, and one that asks for a hundred times as much as another does not keep it out.

mod policy;
mod service;
#[cfg(test)]
mod tests;

pub use policy::ConcurrencyConfig;
pub use service::{Concurrency, ConcurrencyLayer, ConcurrencyService, Gate};
