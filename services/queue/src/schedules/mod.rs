//! Schedules: submissions that are repeated.
//!
//! - [`cron`] says when;
//! - [`rpc`] stores and shows them;
//! - [`run`] makes submissions of what is due, while this process owns the queue.

mod cron;
mod rpc;
mod run;

pub(crate) use self::{rpc::ScheduleRpc, run::run};
