//! Outcomes by position.

use bytes::Bytes;
use hashmesh::v1::{OutcomeStatus, PackedOutcomes};
use hashmesh_database::{
    Database,
    postgres::{Row, types::Type},
};
use prost::Message as _;
use uuid::Uuid;

use super::{Sessions, StoreError, algorithms, many, names, natural, trace_context};
use crate::store::{long, model::TracedOutcomes};

const READ: &str = "read results";

/// Neighbouring tasks of a batch whose outcome is FAILED.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DeadLetters {
    /// The first outcome's position.
    pub(crate) position: u64,
    pub(crate) sequence: u32,
    pub(crate) first_task: u32,
    pub(crate) task_count: u32,
}

/// How much one read of results returns.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ResultsLimit {
    /// At most this many outcomes.
    pub(crate) tasks: u64,
    /// No further row once this many bytes are reached; so it is exceeded by less than one row.
    pub(crate) bytes: usize,
}

/// The outcomes after `after_position`, in order and without a gap, with everything filled in.
///
/// At least one if there is one and the limit is not zero. Empty: there is none yet. Fewer than the limit does not mean
/// the end.
pub(crate) async fn results(
    db: &impl Sessions,
    id: Uuid,
    after_position: u64,
    limit: ResultsLimit,
) -> Result<Vec<TracedOutcomes>, StoreError> {
    let after = long(after_position).min(i64::MAX - 1);
    let rows = many(
        db,
        READ,
        include_str!("../sql/results.sql"),
        &[
            (&id, Type::UUID),
            (&after, Type::INT8),
            (&long(limit.tasks), Type::INT8),
            (&i64::try_from(limit.bytes).unwrap_or(i64::MAX), Type::INT8),
        ],
    )
    .await?;
    let mut left = limit.tasks;
    let mut through = after_position;
    let mut found = Vec::with_capacity(rows.len());
    for row in &rows {
        let Some(mut outcomes) = read(row, id)?.after_position(through) else {
            continue;
        };
        if outcomes.first_position != through + 1 {
            let first = outcomes.first_position;
            return Err(StoreError::damaged(id, format!("position {first} follows position {through}")));
        }
        if left < u64::from(outcomes.task_count) {
            outcomes = outcomes.slice(0, usize::try_from(left).unwrap_or(usize::MAX));
        }
        if outcomes.task_count == 0 {
            break;
        }
        left -= u64::from(outcomes.task_count);
        through = outcomes.through_position();
        found.push(TracedOutcomes { outcomes, trace_context: trace_context(row, READ)? });
    }
    Ok(found)
}

/// The dead letters after `after_position`, by position: those of up to `max_rows` rows of results. Empty: no more.
pub(crate) async fn dead_letters(
    db: &Database,
    id: Uuid,
    after_position: u64,
    max_rows: u32,
) -> Result<Vec<DeadLetters>, StoreError> {
    let what = "read dead letters";
    let failed = StoreError::statement(what);
    let after = long(after_position).min(i64::MAX - 1);
    let rows = many(
        db,
        what,
        include_str!("../sql/dead_letters.sql"),
        &[(&id, Type::UUID), (&after, Type::INT8), (&i64::from(max_rows), Type::INT8)],
    )
    .await?;
    let mut found: Vec<DeadLetters> = Vec::new();
    for row in &rows {
        let position: u64 = natural(id, "position", row.try_get::<_, i64>("position").map_err(&failed)?)?;
        let sequence: u32 = natural(id, "sequence", row.try_get::<_, i32>("sequence").map_err(&failed)?)?;
        let first_task: u32 = natural(id, "first_task", row.try_get::<_, i32>("first_task").map_err(&failed)?)?;
        let statuses: &[u8] = row.try_get("statuses").map_err(&failed)?;
        for (offset, status) in (0_u32..).zip(statuses) {
            let position = position + u64::from(offset);
            let task = first_task + offset;
            if i32::from(*status) != OutcomeStatus::Failed as i32 || position <= after_position {
                continue;
            }
            match found.last_mut() {
                Some(run) if run.goes_on_with(position, sequence, task) => run.task_count += 1,
                _ => found.push(DeadLetters { position, sequence, first_task: task, task_count: 1 }),
            }
        }
    }
    Ok(found)
}

impl DeadLetters {
    /// The last outcome's position: where the next call goes on.
    pub(crate) fn through_position(&self) -> u64 {
        self.position + u64::from(self.task_count) - 1
    }

    fn goes_on_with(&self, position: u64, sequence: u32, task: u32) -> bool {
        self.through_position() + 1 == position
            && self.sequence == sequence
            && self.first_task + self.task_count == task
    }
}

fn read(row: &Row, id: Uuid) -> Result<PackedOutcomes, StoreError> {
    let failed = StoreError::statement(READ);
    let packed: Vec<u8> = row.try_get("outcomes").map_err(&failed)?;
    let mut outcomes = PackedOutcomes::decode(Bytes::from(packed))
        .map_err(|error| StoreError::damaged(id, format!("outcomes that cannot be decoded: {error}")))?;
    outcomes.first_position = natural(id, "position", row.try_get::<_, i64>("position").map_err(&failed)?)?;
    outcomes.sequence = natural(id, "sequence", row.try_get::<_, i32>("sequence").map_err(&failed)?)?;
    outcomes.first_task = natural(id, "first_task", row.try_get::<_, i32>("first_task").map_err(&failed)?)?;
    outcomes.task_count = natural(id, "task_count", row.try_get::<_, i32>("task_count").map_err(&failed)?)?;
    outcomes.attempt = natural(id, "attempt", row.try_get::<_, i16>("attempt").map_err(&failed)?)?;
    outcomes.kernel = row.try_get("kernel").map_err(&failed)?;
    let statuses: Option<Vec<u8>> = row.try_get("statuses").map_err(&failed)?;
    outcomes.statuses = statuses.map(Bytes::from).unwrap_or_default();
    let numbers: Option<Vec<i16>> = row.try_get("algorithms").map_err(&failed)?;
    let numbers = numbers.ok_or(StoreError::Expired)?;
    outcomes.algorithms = algorithms(id, &numbers)?.into_iter().map(i32::from).collect();
    let ends: Option<Vec<i32>> = row.try_get("name_ends").map_err(&failed)?;
    outcomes.names = names(
        id,
        row.try_get("names").map_err(&failed)?,
        row.try_get("names_from").map_err(&failed)?,
        ends.as_deref(),
    )?;
    Ok(outcomes)
}
