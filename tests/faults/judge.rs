//! What must be true of the tables after any fault, whatever clients saw: looked for by SQL alone, over all submissions.

use std::collections::BTreeMap;

use crate::{history::counters, support::Database};

/// Each finds what must not be there, a line of text per find.
const NOTHING: [&str; 7] = [
    // A phantom: an outcome of a task that no stored batch has.
    "SELECT format('outcomes of tasks %s + %s of batch %s of %s, which has %s', r.first_task, r.task_count, r.sequence,
                   r.submission_id, coalesce(b.task_count::text, 'no such batch'))
     FROM results r LEFT JOIN batches b USING (submission_id, sequence)
     WHERE b.task_count IS NULL OR r.first_task < 0 OR r.first_task + r.task_count > b.task_count",
    // What is stored of a submission is a prefix, and each batch counts the tasks through it.
    "SELECT format('batch %s of %s is number %s and says %s tasks through it, wanted %s', sequence, submission_id, number,
                   accepted_through, through)
     FROM (SELECT batches.*, row_number() OVER by_sequence - 1 AS number, sum(task_count) OVER by_sequence AS through
           FROM batches WINDOW by_sequence AS (PARTITION BY submission_id ORDER BY sequence)) counted
     WHERE sequence <> number OR accepted_through <> through",
    // Completed means sealed, and an outcome for each task.
    "SELECT format('%s is completed with %s of %s batches and %s outcomes of %s tasks', id, stored, batch_count, recorded, tasks)
     FROM (SELECT id, state, batch_count,
                  (SELECT count(*) FROM batches b WHERE b.submission_id = id) AS stored,
                  (SELECT coalesce(sum(task_count), 0) FROM batches b WHERE b.submission_id = id) AS tasks,
                  (SELECT coalesce(sum(task_count), 0) FROM results r WHERE r.submission_id = id) AS recorded
           FROM submissions) counted
     WHERE state = 'completed' AND (batch_count, recorded) IS DISTINCT FROM (stored, tasks)",
    // `resolved_through` may lag behind, never run ahead.
    "SELECT format('%s says that it is resolved through %s, but batch %s has %s outcomes of %s tasks', s.id,
                   s.resolved_through, b.sequence, r.recorded, b.task_count)
     FROM submissions s
     JOIN batches b ON b.submission_id = s.id AND b.sequence < s.resolved_through
     JOIN LATERAL (SELECT coalesce(sum(task_count), 0) AS recorded FROM results
                   WHERE submission_id = s.id AND sequence = b.sequence) r ON true
     WHERE s.state <> 'cancelled' AND r.recorded <> b.task_count",
    // Every row belongs to a submission.
    "SELECT format('%s belongs to no submission: %s', submission_id, of)
     FROM (SELECT submission_id, 'batches' AS of FROM batches UNION SELECT submission_id, 'results' FROM results
           UNION SELECT submission_id, 'idempotency_keys' FROM idempotency_keys) rows
     WHERE NOT EXISTS (SELECT FROM submissions WHERE id = submission_id)",
    // A key that was used again found its submission: no submission has two keys, and the key's is stored under its shard.
    "SELECT format('%s has %s keys, in shards %s', submission_id, count(*), array_agg(k.shard))
     FROM idempotency_keys k JOIN submissions s ON s.id = submission_id
     GROUP BY submission_id, s.shard HAVING count(*) <> 1 OR bool_or(k.shard <> s.shard)",
    // The view that people look at agrees with the tables.
    "SELECT format('the view counts %s tasks of %s, the tables %s', viewed, submission_id, stored)
     FROM (SELECT submission_id, count(*) AS viewed FROM tasks GROUP BY 1) v
     FULL JOIN (SELECT submission_id, sum(task_count) AS stored FROM batches GROUP BY 1) b USING (submission_id)
     WHERE viewed IS DISTINCT FROM stored",
];

/// Outcomes of cancelled submissions, and whether one was recorded in a transaction that began after the one that cancelled.
const CANCELLED: &str = "
SELECT id::text, coalesce(sum(task_count), 0)::bigint, coalesce(bool_or(results.created_at > ended_at), false)
FROM submissions LEFT JOIN results ON submission_id = id
WHERE state = 'cancelled'
GROUP BY id";

/// Everything that is wrong with the tables. `cancelled`: submissions, and how many outcomes each had when its client was told that
/// it is cancelled. `times_are_in_order`: the tables' times say what was first.
pub(super) async fn faults(database: &Database, cancelled: &[(String, u64)], times_are_in_order: bool) -> Vec<String> {
    let client = database.client().await;
    let mut faults = counters::faults(database).await;
    for query in NOTHING {
        let rows = client.query(query, &[]).await.unwrap_or_else(|error| panic!("{query}: {error}"));
        faults.extend(rows.iter().map(|row| row.get::<_, String>(0)));
    }
    let rows = client.query(CANCELLED, &[]).await.expect("Postgres answers");
    let stored: BTreeMap<String, (u64, bool)> = rows
        .iter()
        .map(|row| (row.get(0), (u64::try_from(row.get::<_, i64>(1)).expect("not negative"), row.get(2))))
        .collect();
    for (id, told) in cancelled {
        match stored.get(id) {
            None => faults.push(format!("{id} was cancelled, and is not")),
            Some((recorded, _)) if recorded != told => {
                faults.push(format!("{id} had {told} outcomes when it was cancelled, and has {recorded}"));
            }
            Some(_) => {}
        }
    }
    let late = stored.iter().filter(|(_, (_, late))| *late && times_are_in_order);
    faults.extend(late.map(|(id, _)| format!("{id} has an outcome from after its cancel")));
    faults
}
