//! A rate limit: so many calls within any stretch of time of a given length, and not one more.
//!
//! - [`window`]: how calls are counted and forgotten. A pure state that is told the time.
//! - [`windows`]: many of them by name, in this process, which forget themselves.
//! - [`service`]: the tower layer. It asks whoever decides, here or elsewhere, and answers refused calls itself.
//!
//! The window slides: it is cut into [`PARTS`] parts, and a call counts from its own part until all of that part is older
//! than the window. So no stretch of a window's length ever has more calls than the limit, wherever it begins, and a call is
//! counted at most one part (below 1 %) longer than the window. A limit that refills steadily (GCRA, a token bucket) admits
//! up to twice as many, and one that starts anew each minute does too.

mod service;
#[cfg(test)]
mod tests;
mod window;
mod windows;

pub use service::{Decide, RateLimitLayer, RateLimitService, Verdict};
pub use window::{Limit, PARTS, State, Window};
pub use windows::{Ask, Taken, Windows};
