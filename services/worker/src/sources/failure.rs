//! Why reading a source failed: the reasons of `hashmesh.v1.TaskError`, and whether another attempt may help.
//!
//! The texts name no path and no address (the task has its URI), never tell what exists outside of what may be read, and
//! repeat nothing that a server said.

use std::{io, time::Duration};

use hashmesh::{error::TaskReason, queue::v1::AttemptFailure, v1::TaskError};
use rustix::io::Errno;

/// Why an attempt at a task failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    /// A reason of `TaskError`.
    pub(crate) reason: &'static str,
    /// One sentence for people.
    pub(crate) message: String,
    /// Another attempt may succeed.
    pub(crate) retryable: bool,
    /// The attempt must not count.
    pub(crate) uncharged: bool,
    /// Not before this long, as the source asked. `None`: the queue's own back-off.
    pub(crate) retry_after: Option<Duration>,
}

impl Failure {
    pub(super) fn permanent(reason: TaskReason, message: impl Into<String>) -> Self {
        Self { retryable: false, ..Self::retryable(reason, message) }
    }

    pub(super) fn retryable(reason: TaskReason, message: impl Into<String>) -> Self {
        let (reason, message) = (reason.as_str(), message.into());
        Self { reason, message, retryable: true, uncharged: false, retry_after: None }
    }

    /// No root of this worker covers the object; another worker's may.
    pub(crate) fn cannot_reach() -> Self {
        let message = "the object is outside of everything that this worker may read";
        Self { uncharged: true, ..Self::retryable(TaskReason::CannotReachSource, message) }
    }

    /// The tenant may not name it, whatever this worker may read.
    pub(crate) fn not_the_tenants() -> Self {
        let message = "the tenant may not have this read; an administrator allows it (hashmesh admin tenants sources)";
        Self::permanent(TaskReason::SourceNotAllowed, message)
    }

    /// It belongs to the mesh's own store, where every tenant's bytes are.
    pub(crate) fn of_the_store() -> Self {
        let message = "the object belongs to the mesh's store of uploads; name the upload (upload://TENANT/ID)";
        Self::permanent(TaskReason::SourceNotAllowed, message)
    }

    /// The URI's path has a `..`.
    pub(crate) fn parent_in_path() -> Self {
        Self::permanent(TaskReason::SourceNotAllowed, "the path contains `..`; name the file by a path without")
    }

    /// It is a directory, a FIFO, a socket, a device.
    pub(crate) fn not_regular(what: &str) -> Self {
        Self::permanent(
            TaskReason::SourceNotRegular,
            format!("not a regular file but {what}; only regular files are read"),
        )
    }

    /// The range ends behind the file.
    pub(crate) fn too_short(wanted_end: Option<u64>, size: u64) -> Self {
        let wanted = wanted_end.map_or_else(|| "a range beyond 2^64".to_owned(), |end| format!("bytes up to {end}"));
        Self::permanent(TaskReason::SourceTooShort, format!("the task asks for {wanted}, and the file has {size}"))
    }

    /// The file is not the same after reading as before.
    pub(crate) fn changed(what: &str) -> Self {
        Self::retryable(TaskReason::SourceChanged, format!("the file's {what} changed while it was read"))
    }

    /// The work on the task panicked: a defect of ours.
    pub(crate) fn panicked() -> Self {
        Self::retryable(TaskReason::WorkerPanicked, "the worker failed at this task; its log says why")
    }

    /// A file beneath a root did not open.
    pub(crate) fn from_open(error: &io::Error) -> Self {
        let Some(errno) = Errno::from_io_error(error) else {
            return match error.kind() {
                // cap-std's own error for a path that leaves the root. It is the same whether the target exists or not.
                io::ErrorKind::PermissionDenied => Self::permanent(
                    TaskReason::SourceNotAllowed,
                    "a symbolic link in the path leads out of the allowed root",
                ),
                // A NUL in the path.
                io::ErrorKind::InvalidInput => Self::not_found(),
                _ => Self::from_read(error),
            };
        };
        match errno {
            Errno::NOENT | Errno::NOTDIR | Errno::NAMETOOLONG | Errno::INVAL => Self::not_found(),
            Errno::ACCESS | Errno::PERM => {
                Self::permanent(TaskReason::SourceDenied, "the worker may not read the file")
            }
            Errno::XDEV => Self::permanent(
                TaskReason::SourceNotAllowed,
                "a symbolic link in the path leads out of the allowed root",
            ),
            Errno::LOOP => Self::not_regular("a loop of symbolic links"),
            Errno::ISDIR => Self::not_regular("a directory"),
            // What Linux answers to opening a socket, and a device without a driver.
            Errno::NXIO | Errno::NODEV => Self::not_regular("a socket or device"),
            _ => Self::from_read(error),
        }
    }

    /// A file that was opened could not be read. Disks, network file systems and descriptor limits recover.
    pub(crate) fn from_read(error: &io::Error) -> Self {
        Self::retryable(TaskReason::SourceUnreadable, format!("reading failed: {error}"))
    }

    fn not_found() -> Self {
        Self::permanent(TaskReason::SourceNotFound, "no such file")
    }

    /// The failure of the task at `offset`, as it is sent.
    pub(crate) fn into_attempt(self, offset: u32) -> AttemptFailure {
        let Self { reason, message, retryable, uncharged, retry_after } = self;
        let error = TaskError { reason: reason.to_owned(), message };
        let retry_after = retry_after.and_then(|delay| delay.try_into().ok());
        AttemptFailure { offset, error: Some(error), retryable, retry_after, uncharged }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_system_refuses_maps_to_the_published_reasons() {
        for (errno, reason, retryable) in [
            (Errno::NOENT, "SOURCE_NOT_FOUND", false),
            (Errno::NOTDIR, "SOURCE_NOT_FOUND", false),
            (Errno::ACCESS, "SOURCE_DENIED", false),
            (Errno::PERM, "SOURCE_DENIED", false),
            (Errno::LOOP, "SOURCE_NOT_REGULAR", false),
            (Errno::NXIO, "SOURCE_NOT_REGULAR", false),
            (Errno::XDEV, "SOURCE_NOT_ALLOWED", false),
            (Errno::IO, "SOURCE_UNREADABLE", true),
            (Errno::MFILE, "SOURCE_UNREADABLE", true),
            (Errno::STALE, "SOURCE_UNREADABLE", true),
        ] {
            let failure = Failure::from_open(&errno.into());
            assert_eq!((failure.reason, failure.retryable, failure.uncharged), (reason, retryable, false), "{errno}");
        }
    }

    #[test]
    fn an_unreachable_source_is_tried_elsewhere_and_not_charged() {
        let attempt = Failure::cannot_reach().into_attempt(3);
        assert!(attempt.retryable && attempt.uncharged);
        assert_eq!((attempt.offset, attempt.error.unwrap().reason.as_str()), (3, "CANNOT_REACH_SOURCE"));
    }
}
