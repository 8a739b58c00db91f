//! Every limit of the public API, each in this place only.

use std::time::Duration;

use crate::v1::Limits;

/// Tasks in one batch.
pub const MAX_BATCH_TASKS: u32 = 10_000;
/// Bytes of one batch: inline data, URIs, names and expected digests together. Below gRPC's customary 4 MiB per message.
pub const MAX_BATCH_BYTES: u32 = 4 * 1024 * 1024 - 64 * 1024;
/// Batches sent and not yet answered, per stream.
pub const WINDOW_BATCHES: u32 = 64;
/// Bytes of batches sent and not yet answered, per stream.
pub const WINDOW_BYTES: u32 = 32 * 1024 * 1024;
/// Causes that a frame of outcomes names.
pub const MAX_TRACEPARENTS: usize = 32;
/// What a gRPC server decodes at most. Above a full batch with all its framing, a row's worst case included.
pub const MAX_DECODED_MESSAGE_BYTES: usize = 4 * 1024 * 1024 + 1024 * 1024;
/// What a server puts into one frame of outcomes, at most. One outcome alone always fits.
pub const MAX_RESULTS_FRAME_BYTES: usize = 1024 * 1024;
/// Bytes of a task's name.
pub const MAX_NAME_BYTES: usize = 4_096;
/// Bytes of a task's URI.
pub const MAX_URI_BYTES: usize = 8_192;
/// Algorithms of one submission or call.
pub const MAX_ALGORITHMS: usize = 8;
/// Bytes of a part that composite digests are computed over, at least: S3 takes no smaller ones, but for an object's last.
pub const MIN_PART_BYTES: u64 = 5 * 1024 * 1024;
/// The same at most: S3 takes no larger ones.
pub const MAX_PART_BYTES: u64 = 5 * 1024 * 1024 * 1024;
/// Labels of one submission.
pub const MAX_LABELS: usize = 32;
/// Bytes of a label's key.
pub const MAX_LABEL_KEY_BYTES: usize = 63;
/// Bytes of a label's value.
pub const MAX_LABEL_VALUE_BYTES: usize = 255;
/// Bytes of an idempotency key.
pub const MAX_IDEMPOTENCY_KEY_BYTES: usize = 255;
/// Attempts at a task when the submission does not say.
pub const DEFAULT_MAX_ATTEMPTS: u32 = 5;
/// The most attempts that a submission may ask for.
pub const MAX_MAX_ATTEMPTS: u32 = 20;
/// The highest priority; the lowest is 0.
pub const MAX_PRIORITY: u32 = 9;
/// The priority of a submission that does not say.
pub const DEFAULT_PRIORITY: u32 = 5;
/// The highest limit of concurrently leased tasks: it fits a Postgres `integer`.
pub const MAX_LEASED_TASKS: u32 = i32::MAX as u32;
/// Calls within a window that any rate limit may allow.
pub const MAX_CALLS: u32 = 1_000_000_000;
/// Tasks or bytes a day that a tenant may be given: what a table holds.
pub const MAX_QUOTA: u64 = i64::MAX as u64;
/// Batches of one submission: a sequence number fits a Postgres `integer`.
pub const MAX_BATCHES: u32 = i32::MAX as u32;
/// The longest retention that a submission may ask for: ten years. A day is kept as long as its last submission.
pub const MAX_RETENTION: Duration = Duration::from_secs(3_650 * 86_400);
/// Tasks of a `SubmitBatch` that waits.
pub const MAX_WAIT_TASKS: u32 = 1_000;
/// How long a `SubmitBatch` waits at most.
pub const MAX_WAIT: Duration = Duration::from_secs(300);
/// Bytes of outcomes in the answer of a `SubmitBatch` that waits.
pub const MAX_WAIT_ANSWER_BYTES: usize = 3 * 1024 * 1024;
/// Places that a tenant may name (`TenantSources`).
pub const MAX_TENANT_SOURCES: usize = 32;
/// Bytes of each.
pub const MAX_TENANT_SOURCE_BYTES: usize = 1_024;
/// Schedules of one tenant.
pub const MAX_SCHEDULES: u32 = 1_000;
/// Bytes of a schedule's name.
pub const MAX_SCHEDULE_NAME_BYTES: usize = 63;
/// Bytes of a schedule's cron expression.
pub const MAX_CRON_BYTES: usize = 255;
/// Submissions on a page.
pub const MAX_SUBMISSIONS_PAGE: u32 = 1_000;
/// Submissions on a page when the caller does not say.
pub const DEFAULT_SUBMISSIONS_PAGE: u32 = 100;
/// Outcomes on a page.
pub const MAX_RESULTS_PAGE: u32 = 10_000;
/// Outcomes on a page when the caller does not say.
pub const DEFAULT_RESULTS_PAGE: u32 = 1_000;
/// Bytes of a part of an upload, as it is put into the store: what a broken connection costs at most.
pub const UPLOAD_PART_BYTES: u32 = 8 * 1024 * 1024;
/// Bytes of one frame of an upload.
pub const MAX_UPLOAD_FRAME_BYTES: u32 = MAX_BATCH_BYTES;
/// Bytes of one upload where the Gateway was not told otherwise: as large as S3's objects.
pub const DEFAULT_MAX_UPLOAD_BYTES: u64 = 5 << 40;
/// Uploads that a tenant may have open.
pub const MAX_OPEN_UPLOADS: u32 = 1_000;
/// Writers that stored something of one upload, one after the other: its layout names each.
pub const MAX_UPLOAD_RUNS: u32 = 10_000;
/// Between two frames of an upload.
pub const MAX_UPLOAD_SILENCE: Duration = Duration::from_secs(60);
/// Between two pings on a stream.
pub const PING_INTERVAL: Duration = Duration::from_secs(20);
/// How long a client that promised to answer pings may stay silent after one.
pub const PONG_TIMEOUT: Duration = Duration::from_secs(15);
/// Between two progress messages to one watcher, at least.
pub const WATCH_INTERVAL: Duration = Duration::from_millis(250);

/// The limits as they are announced to clients.
#[must_use]
pub fn announced() -> Limits {
    Limits {
        max_batch_tasks: MAX_BATCH_TASKS,
        max_batch_bytes: MAX_BATCH_BYTES,
        window_batches: WINDOW_BATCHES,
        window_bytes: WINDOW_BYTES,
    }
}

/// The window that an `Accepted` asks for, in bytes: 0 stands for the `limit`, and none is larger.
#[must_use]
pub const fn asked_window(window_bytes: u32, limit: u32) -> u32 {
    if window_bytes == 0 || window_bytes > limit { limit } else { window_bytes }
}
