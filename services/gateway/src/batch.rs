//! What is let through of a batch: validated, in columns, its large fields encoded for the Queue.

use hashmesh::{
    error::{Reason, StatusBuilder, bad_field},
    gateway::v1::{Batch, batch, submit_batch_request},
    limits::MAX_WAIT_TASKS,
    queue::v1::ValidatedBatch,
    tasks::{self, Violation},
    v1::{Algorithm, PackedTasks, TaskRows},
};
use tonic::Status;

use crate::{heavy, reads::Reads};

/// Above this, validating takes more than about 0.5 ms: it reads, hashes and copies every byte once.
const LARGE_BYTES: usize = 256 * 1024;
/// The same for rows, which cost by their number.
const LARGE_ROWS: usize = 500;

/// Tasks in either shape.
#[allow(clippy::large_enum_variant, reason = "as large as the frame's own; lives for one validation")]
#[derive(Debug)]
pub(crate) enum Tasks {
    Rows(TaskRows),
    Columns(PackedTasks),
}

/// A batch before it is validated.
#[derive(Debug)]
pub(crate) struct Unchecked {
    pub(crate) sequence: u32,
    /// The path of the message that holds the tasks, with its dot, or empty.
    pub(crate) path: &'static str,
    pub(crate) tasks: Tasks,
    /// The submission's algorithms, where they are known here. Where not, the Queue checks.
    pub(crate) algorithms: Option<Vec<i32>>,
}

impl Unchecked {
    /// The batch of a frame or of `AppendBatch`.
    pub(crate) fn of_batch(batch: Batch, algorithms: Option<Vec<i32>>) -> Result<Self, Status> {
        let tasks = match batch.tasks {
            Some(batch::Tasks::Rows(rows)) => Tasks::Rows(rows),
            Some(batch::Tasks::Columns(columns)) => Tasks::Columns(columns),
            None => return Err(bad_field("batch", "one of `rows` and `columns` must be set")),
        };
        Ok(Self { sequence: batch.sequence, path: "batch.", tasks, algorithms })
    }

    /// The only batch of `SubmitBatch`.
    pub(crate) fn of_submit_batch(
        tasks: Option<submit_batch_request::Tasks>,
        algorithms: Vec<i32>,
    ) -> Result<Self, Status> {
        let tasks = match tasks {
            Some(submit_batch_request::Tasks::Rows(rows)) => Tasks::Rows(rows),
            Some(submit_batch_request::Tasks::Columns(columns)) => Tasks::Columns(columns),
            None => return Err(bad_field("rows", "one of `rows` and `columns` must be set")),
        };
        Ok(Self { sequence: 0, path: "", tasks, algorithms: Some(algorithms) })
    }

    /// Holds the batch to what a caller may wait for.
    pub(crate) fn check_wait(&self) -> Result<(), Status> {
        let (field, count) = match &self.tasks {
            Tasks::Rows(rows) => ("rows.tasks", rows.tasks.len()),
            Tasks::Columns(columns) => ("columns.lengths", columns.task_count()),
        };
        if count <= MAX_WAIT_TASKS as usize {
            return Ok(());
        }
        let wanted =
            format!("may have {MAX_WAIT_TASKS} tasks with `wait`, has {count}; submit without, then StreamResults");
        Err(bad_field(field, wanted))
    }

    /// Validates and encodes what a caller brings whose tasks may name this; on a thread for such work if it is much of it.
    pub(crate) async fn validate(self, reads: &Reads) -> Result<ValidatedBatch, Status> {
        if !self.large() {
            return self.validate_now(reads);
        }
        let reads = reads.clone();
        heavy::run(move || self.validate_now(&reads)).await?
    }

    fn large(&self) -> bool {
        match &self.tasks {
            Tasks::Rows(rows) => {
                rows.tasks.len() > LARGE_ROWS || rows.tasks.iter().map(row_bytes).sum::<usize>() > LARGE_BYTES
            }
            Tasks::Columns(columns) => {
                let names = columns.names.as_ref().map_or(0, |names| names.data.len());
                // The lengths count too: garbage may consist of nothing else.
                columns.data.len() + names + columns.expected.len() + 4 * columns.task_count() > LARGE_BYTES
            }
        }
    }

    fn validate_now(self, reads: &Reads) -> Result<ValidatedBatch, Status> {
        let path = self.path;
        let refused = |violation: Violation| bad_field(&format!("{path}{}", violation.field), violation.description);
        let columns = match self.tasks {
            Tasks::Rows(rows) => tasks::from_rows(rows).map_err(refused)?,
            Tasks::Columns(columns) => columns,
        };
        reads.check_uploads(&columns)?;
        if let Err(forbidden) = reads.check_tasks(&columns) {
            // Who writes no URI ought to learn that.
            tasks::validate(&columns).map_err(refused)?;
            return Err(forbidden);
        }
        let batch = tasks::validated(self.sequence, columns).map_err(refused)?;
        if let Some(algorithms) = &self.algorithms {
            check_expected(&batch.expected_algorithms, algorithms)?;
        }
        Ok(batch)
    }
}

fn row_bytes(task: &hashmesh::v1::Task) -> usize {
    use hashmesh::v1::task::Source;
    let input = match &task.source {
        Some(Source::Data(data)) => data.len(),
        Some(Source::Object(object)) => object.uri.len(),
        None => 0,
    };
    let expected: usize = task.expected.iter().map(|digest| digest.hex.len()).sum();
    input + task.name.len() + task.raw_name.len() + expected
}

/// Expected digests of an algorithm that the submission does not compute could never be compared.
fn check_expected(expected: &[i32], algorithms: &[i32]) -> Result<(), Status> {
    let Some(other) = expected.iter().find(|algorithm| !algorithms.contains(algorithm)) else {
        return Ok(());
    };
    let name = Algorithm::known(*other).map_or("another algorithm", Algorithm::name);
    let message = format!("an expected digest is of {name}, which is not among the submission's algorithms");
    let status = StatusBuilder::new(Reason::InvalidArgument, message)
        .violation("expected", "only algorithms of the submission may be expected; add it to `options.algorithms`");
    Err(status.build())
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use hashmesh::v1::{Digest, PackedNames, Task, task::Source};
    use prost::Message as _;

    use super::*;

    fn columns(count: usize, bytes: usize) -> PackedTasks {
        PackedTasks { data: vec![7; count * bytes].into(), lengths: vec![bytes as u32; count], ..Default::default() }
    }

    fn anything() -> Reads {
        Reads::new("default".into(), None)
    }

    fn unchecked(tasks: Tasks) -> Unchecked {
        Unchecked { sequence: 3, path: "batch.", tasks, algorithms: Some(vec![Algorithm::Sha256.into()]) }
    }

    #[tokio::test]
    async fn names_travel_beside_the_tasks_and_not_within() {
        let names = PackedNames { data: "ab".into(), lengths: vec![1, 1] };
        let named = PackedTasks { names: Some(names.clone()), ..columns(2, 5) };
        let batch = unchecked(Tasks::Columns(named)).validate(&anything()).await.unwrap();
        assert_eq!(PackedTasks::decode(batch.tasks).unwrap(), columns(2, 5));
        assert_eq!(PackedNames::decode(batch.names).unwrap(), names);
        assert_eq!((batch.sequence, batch.task_count, batch.byte_count, batch.fingerprint.len()), (3, 2, 12, 32));
    }

    #[tokio::test]
    async fn names_that_are_all_empty_are_no_names() {
        let names = PackedNames { data: Bytes::new(), lengths: vec![0, 0] };
        let named = PackedTasks { names: Some(names), ..columns(2, 5) };
        assert!(unchecked(Tasks::Columns(named)).validate(&anything()).await.unwrap().names.is_empty());
    }

    #[tokio::test]
    async fn a_large_batch_is_validated_elsewhere_with_the_same_result() {
        let large = columns(10_000, 400);
        assert!(unchecked(Tasks::Columns(large.clone())).large());
        let elsewhere = unchecked(Tasks::Columns(large.clone())).validate(&anything()).await.unwrap();
        assert_eq!(elsewhere, unchecked(Tasks::Columns(large)).validate_now(&anything()).unwrap());
    }

    #[tokio::test]
    async fn an_expected_digest_of_another_algorithm_is_refused() {
        let expected = vec![Digest { algorithm: Algorithm::Md5.into(), hex: "00".repeat(16) }];
        let task = Task { source: Some(Source::Data(Bytes::new())), expected, ..Default::default() };
        let rows = TaskRows { tasks: vec![task] };
        let status = unchecked(Tasks::Rows(rows)).validate(&anything()).await.unwrap_err();
        assert!(status.message().contains("md5"), "{status}");
    }

    #[tokio::test]
    async fn a_violation_is_named_by_its_whole_path() {
        let status = unchecked(Tasks::Columns(columns(0, 0))).validate(&anything()).await.unwrap_err();
        assert!(status.message().starts_with("batch.columns.lengths: "), "{status}");
        let rows = TaskRows { tasks: vec![Task::default()] };
        let status = unchecked(Tasks::Rows(rows)).validate(&anything()).await.unwrap_err();
        assert!(status.message().starts_with("batch.rows.tasks[0]: "), "{status}");
    }

    #[test]
    fn a_caller_may_wait_for_a_thousand_tasks() {
        assert!(unchecked(Tasks::Columns(columns(1_000, 0))).check_wait().is_ok());
        assert!(unchecked(Tasks::Columns(columns(1_001, 0))).check_wait().is_err());
    }
}
