//! Unresolved batches without their payload: what comes into memory of the work that Postgres holds.

use std::collections::{BTreeMap, BTreeSet};

use hashmesh_database::{
    Database,
    postgres::{Client, Row, types::Type},
};
use uuid::Uuid;

use super::{
    StoreError, integer, long,
    model::{LoadedBatches, RecoveredBatch, RecoveredLease, WantedBatches},
    reads::{fingerprint, natural, trace_context},
};

pub(super) const LOAD: &str = "load unresolved batches";

/// One snapshot; by index, so that what is finished is not read, however many days of it there are; and joins that keep the
/// order of the batches' index, so that a page costs a page and not the backlog.
pub(super) const BEGIN: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL statement_timeout = 0;
    SET LOCAL enable_hashjoin = off; SET LOCAL enable_nestloop = off; SET LOCAL enable_seqscan = off; SET LOCAL jit = off";

/// The first unresolved batches of each submission, at most one request for each. Answers in the order of the requests.
pub(crate) async fn load_batches(db: &Database, wanted: &[WantedBatches]) -> Result<Vec<LoadedBatches>, StoreError> {
    let connection = db.pooled().await.map_err(StoreError::connect(LOAD))?;
    connection.batch_execute(BEGIN).await.map_err(StoreError::statement(LOAD))?;
    let loaded = load(&connection, wanted).await?;
    connection.batch_execute("COMMIT").await.map_err(StoreError::statement(LOAD))?;
    Ok(loaded)
}

/// The same within a transaction that was begun with [`BEGIN`].
pub(super) async fn load(connection: &Client, wanted: &[WantedBatches]) -> Result<Vec<LoadedBatches>, StoreError> {
    let mut found = read_batches(connection, wanted).await?;
    for (request, loaded) in wanted.iter().zip(&mut found) {
        let full = loaded.batches.len() >= request.count as usize;
        let last = loaded.batches.last().filter(|_| full);
        loaded.through = last.map_or(request.stored, |last| last.sequence + 1);
        complete(request, loaded)?;
    }
    add_recorded(connection, wanted, &mut found).await?;
    add_leases(connection, wanted, &mut found).await?;
    let behind = outcomes_behind(connection, wanted, &found).await?;
    for (request, loaded) in wanted.iter().zip(&mut found) {
        loaded.outcomes_behind = behind.contains(&request.submission);
    }
    Ok(found)
}

/// What is stored is a prefix. Among batches that have no outcomes a missing one shows.
fn complete(request: &WantedBatches, loaded: &LoadedBatches) -> Result<(), StoreError> {
    if request.after_position < request.to_position {
        return Ok(());
    }
    for (expected, batch) in (loaded.from..).zip(&loaded.batches) {
        if batch.sequence != expected {
            let found = format!("batch {} is stored where batch {expected} is missing", batch.sequence);
            return Err(StoreError::damaged(request.submission, found));
        }
    }
    Ok(())
}

async fn read_batches(connection: &Client, wanted: &[WantedBatches]) -> Result<Vec<LoadedBatches>, StoreError> {
    let mut found: Vec<LoadedBatches> =
        wanted.iter().map(|request| LoadedBatches { from: request.from, ..LoadedBatches::default() }).collect();
    let places: BTreeMap<Uuid, usize> =
        wanted.iter().enumerate().map(|(place, request)| (request.submission, place)).collect();
    let ids: Vec<Uuid> = wanted.iter().map(|request| request.submission).collect();
    let from: Vec<i32> = wanted.iter().map(|request| integer(request.from)).collect();
    let to: Vec<i32> = wanted.iter().map(|request| integer(request.stored)).collect();
    let (after, through) = positions(wanted.iter());
    let count: Vec<i32> = wanted.iter().map(|request| integer(request.count)).collect();
    let rows = connection
        .query_typed(
            include_str!("sql/load_batches.sql"),
            &[
                (&ids, Type::UUID_ARRAY),
                (&from, Type::INT4_ARRAY),
                (&to, Type::INT4_ARRAY),
                (&after, Type::INT8_ARRAY),
                (&through, Type::INT8_ARRAY),
                (&count, Type::INT4_ARRAY),
            ],
        )
        .await
        .map_err(StoreError::statement(LOAD))?;
    for row in &rows {
        let id: Uuid = row.try_get("submission_id").map_err(StoreError::statement(LOAD))?;
        let Some(place) = places.get(&id) else { continue };
        let loaded = &mut found[*place];
        loaded.batches.push(read_batch(id, row)?);
    }
    Ok(found)
}

fn read_batch(id: Uuid, row: &Row) -> Result<RecoveredBatch, StoreError> {
    let failed = StoreError::statement(LOAD);
    let number = |column: &str| -> Result<u32, StoreError> {
        natural(id, column, row.try_get::<_, i32>(column).map_err(&failed)?)
    };
    let recorded: i64 = row.try_get("recorded").map_err(&failed)?;
    Ok(RecoveredBatch {
        sequence: number("sequence")?,
        task_count: number("task_count")?,
        byte_count: number("byte_count")?,
        fingerprint: fingerprint(id, row.try_get("fingerprint").map_err(&failed)?)?,
        reference_prefix: row.try_get("reference_prefix").map_err(&failed)?,
        trace_context: trace_context(row, LOAD)?,
        // To be filled in.
        recorded: if recorded > 0 { vec![(0, 0)] } else { Vec::new() },
        leases: Vec::new(),
    })
}

/// Fills in which tasks of the partly resolved batches have their outcome.
async fn add_recorded(
    connection: &Client,
    wanted: &[WantedBatches],
    found: &mut [LoadedBatches],
) -> Result<(), StoreError> {
    let mut ids = Vec::new();
    let mut sequences = Vec::new();
    let mut requests = Vec::new();
    for (request, loaded) in wanted.iter().zip(found.iter_mut()) {
        for batch in loaded.batches.iter_mut().filter(|batch| !batch.recorded.is_empty()) {
            batch.recorded.clear();
            ids.push(request.submission);
            sequences.push(integer(batch.sequence));
            requests.push(request);
        }
    }
    if ids.is_empty() {
        return Ok(());
    }
    let (after, to) = positions(requests.into_iter());
    let rows = connection
        .query_typed(
            include_str!("sql/load_recorded.sql"),
            &[
                (&ids, Type::UUID_ARRAY),
                (&sequences, Type::INT4_ARRAY),
                (&after, Type::INT8_ARRAY),
                (&to, Type::INT8_ARRAY),
            ],
        )
        .await
        .map_err(StoreError::statement(LOAD))?;
    let mut index = Index::of(wanted, found);
    for row in &rows {
        let Some((batch, first, count)) = index.range(row)? else { continue };
        // Rows come by first task, so neighbours follow each other.
        match batch.recorded.last_mut() {
            Some((last_first, last_count)) if *last_first + *last_count == first => *last_count += count,
            _ => batch.recorded.push((first, count)),
        }
    }
    Ok(())
}

/// Fills in what is known of their ranges: attempts made, workers lost, and who held them.
async fn add_leases(
    connection: &Client,
    wanted: &[WantedBatches],
    found: &mut [LoadedBatches],
) -> Result<(), StoreError> {
    let ids: Vec<Uuid> = wanted.iter().map(|request| request.submission).collect();
    let from: Vec<i32> = found.iter().map(|loaded| integer(loaded.from)).collect();
    let through: Vec<i32> = found.iter().map(|loaded| integer(loaded.through)).collect();
    let rows = connection
        .query_typed(
            include_str!("sql/load_leases.sql"),
            &[(&ids, Type::UUID_ARRAY), (&from, Type::INT4_ARRAY), (&through, Type::INT4_ARRAY)],
        )
        .await
        .map_err(StoreError::statement(LOAD))?;
    let mut index = Index::of(wanted, found);
    for row in &rows {
        let failed = StoreError::statement(LOAD);
        let id: Uuid = row.try_get("submission_id").map_err(&failed)?;
        let number = |column: &str| -> Result<u32, StoreError> {
            natural(id, column, row.try_get::<_, i16>(column).map_err(&failed)?)
        };
        let (attempt, strikes) = (number("attempt")?, number("strikes")?);
        let worker: Option<String> = row.try_get("worker").map_err(&failed)?;
        let Some((batch, first, count)) = index.range(row)? else { continue };
        let open = without(first, count, &batch.recorded).into_iter();
        batch.leases.extend(open.map(|(first_task, task_count)| RecoveredLease {
            first_task,
            task_count,
            attempt,
            strikes,
            worker: worker.clone(),
        }));
    }
    Ok(())
}

/// The submissions of which outcomes are left that belong to batches behind the loaded ones.
async fn outcomes_behind(
    connection: &Client,
    wanted: &[WantedBatches],
    found: &[LoadedBatches],
) -> Result<BTreeSet<Uuid>, StoreError> {
    let open = || wanted.iter().zip(found).filter(|(request, _)| request.after_position < request.to_position);
    let ids: Vec<Uuid> = open().map(|(request, _)| request.submission).collect();
    if ids.is_empty() {
        return Ok(BTreeSet::new());
    }
    let through: Vec<i32> = open().map(|(_, loaded)| integer(loaded.through)).collect();
    let (after, to) = positions(open().map(|(request, _)| request));
    let rows = connection
        .query_typed(
            include_str!("sql/load_outcomes_behind.sql"),
            &[
                (&ids, Type::UUID_ARRAY),
                (&through, Type::INT4_ARRAY),
                (&after, Type::INT8_ARRAY),
                (&to, Type::INT8_ARRAY),
            ],
        )
        .await
        .map_err(StoreError::statement(LOAD))?;
    rows.iter().map(|row| row.try_get("id").map_err(StoreError::statement(LOAD))).collect()
}

fn positions<'a>(requests: impl Iterator<Item = &'a WantedBatches>) -> (Vec<i64>, Vec<i64>) {
    requests.map(|request| (long(request.after_position), long(request.to_position))).unzip()
}

/// Loaded batches by submission and sequence.
struct Index<'a> {
    loaded: BTreeMap<Uuid, &'a mut LoadedBatches>,
}

impl<'a> Index<'a> {
    fn of(wanted: &[WantedBatches], found: &'a mut [LoadedBatches]) -> Self {
        Self { loaded: wanted.iter().map(|request| request.submission).zip(found).collect() }
    }

    /// The batch that a row belongs to, and the row's tasks. `None`: it was not loaded.
    fn range(&mut self, row: &Row) -> Result<Option<(&mut RecoveredBatch, u32, u32)>, StoreError> {
        let failed = StoreError::statement(LOAD);
        let id: Uuid = row.try_get("submission_id").map_err(&failed)?;
        let number = |column: &str| -> Result<u32, StoreError> {
            natural(id, column, row.try_get::<_, i32>(column).map_err(&failed)?)
        };
        let (sequence, first, count) = (number("sequence")?, number("first_task")?, number("task_count")?);
        let Some(loaded) = self.loaded.get_mut(&id) else { return Ok(None) };
        let Ok(place) = loaded.batches.binary_search_by_key(&sequence, |batch| batch.sequence) else {
            return Ok(None);
        };
        Ok(Some((&mut loaded.batches[place], first, count)))
    }
}

/// The parts of a range that are not recorded. A lease's row lags, so part of it may have its outcome by now.
fn without(first: u32, count: u32, recorded: &[(u32, u32)]) -> Vec<(u32, u32)> {
    let end = first + count;
    let mut open = Vec::new();
    let mut from = first;
    for (recorded_first, recorded_count) in recorded {
        let (recorded_first, recorded_end) = (*recorded_first, *recorded_first + *recorded_count);
        if recorded_end <= from {
            continue;
        }
        if recorded_first >= end {
            break;
        }
        if recorded_first > from {
            open.push((from, recorded_first - from));
        }
        from = recorded_end;
    }
    if from < end {
        open.push((from, end - from));
    }
    open
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_recorded_is_cut_out_of_a_range() {
        assert_eq!(without(10, 10, &[]), [(10, 10)]);
        assert_eq!(without(10, 10, &[(0, 5), (12, 2), (18, 9)]), [(10, 2), (14, 4)]);
        assert_eq!(without(10, 10, &[(0, 12), (30, 1)]), [(12, 8)]);
        assert_eq!(without(10, 10, &[(5, 20)]), []);
    }
}
