//! The worker's side of the cache: what is known of a lease's objects before they are read, and what is put there after.
//!
//! ```text
//! lease ── memo.rs ── client.rs ── Cache     one question for up to a thousand objects, before the first is read
//! task ─── memo.rs: what is known, and what was computed
//! task ─── readings.rs: another reads the same object just now
//! lease's end ── memo.rs ── client.rs        what was computed, while nobody waits for it
//! ```
//!
//! Without an answer everything is read: the cache can only save time.

mod client;
mod memo;
mod readings;
mod room;

use self::readings::{Reader, Reading, Readings, Turn};
pub(crate) use self::{client::CacheClient, memo::Memo, room::MemoRoom};
