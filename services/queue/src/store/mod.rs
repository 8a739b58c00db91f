//! The queue's tables: everything that is read from and written to Postgres, and nothing else.
//!
//! - [`ownership`]: who may write, and how a new owner shuts the old one out.
//! - [`lane`]: group commit, the only way in which submissions, batches and results are written.
//! - [`elision`]: which inline bytes a transaction may leave out.
//! - [`behind`]: what is written about a second late and never waited for.
//! - [`recover`]: what a new owner starts from.
//! - [`load`]: the batches that come into memory as work goes on.
//! - [`partitions`]: the days of the large tables; [`expiry`]: what retention takes out of them.
//! - [`access`]: keys and the audit trail; [`uploads`]: which bytes of uploads count; [`schedules`].
//! - [`reads`]: what clients and leases are answered from; [`replicas`]: where.
//!
//! Every write of work is a transaction under [`fence`].

mod access;
mod behind;
mod columns;
mod elision;
mod error;
mod expiry;
mod fence;
mod keys;
mod lane;
mod load;
pub(crate) mod model;
mod ownership;
mod partitions;
mod reads;
mod recover;
mod replicas;
mod schedules;
#[cfg(test)]
mod tests;
mod uploads;

pub(crate) use access::{
    FoundKey, api_key, api_keys, audit, create_api_key, has_admin_key, note_api_key_uses, note_audit, revoke_api_key,
    rotate_api_key, set_api_key_limits,
};
pub(crate) use behind::{Also, lease_rows, tenant_usage, usage_of_others, write_behind};
pub(crate) use elision::Elision;
pub(crate) use error::StoreError;
pub(crate) use keys::Keys;
pub(crate) use lane::{Lane, LaneError, UnitError};
pub(crate) use load::load_batches;
pub(crate) use ownership::{Ownership, lapse, leave, look, owned, release, renew, take};
pub(crate) use partitions::{Change, Maintenance, PARENTS, Partition, PartitionKind};
pub(crate) use reads::{
    ResultsLimit, SubmissionsPage, batch_fingerprint, batch_payloads, dead_letters, find_key, named_batch, results,
    submission, submissions, tenant_controls, wal_bytes,
};
pub(crate) use recover::{load_one, load_unfinished};
pub(crate) use replicas::Reads;
pub(crate) use schedules::{
    DueSchedule, advance_schedule, create_schedule, delete_schedule, due_schedules, schedule, schedules,
};
pub(crate) use uploads::{
    NewBytes, StoredUpload, complete_upload, create_upload, delete_upload, deleted_uploads, expire_uploads,
    forget_upload, note_emptied, seal_upload, store_bytes, take_upload, upload, upload_id, upload_runs,
};

/// For Postgres. What is written so is limited far below (`hashmesh::limits`): sequences, places of tasks, rates.
fn integer(value: u32) -> i32 {
    i32::try_from(value).unwrap_or(i32::MAX)
}

/// For Postgres. Nothing here counts that far: bytes, positions, seconds.
fn long(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
