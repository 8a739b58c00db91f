//! A look at the tables: does every row of results count what it says (promise 6), and does it start where the one before
//! it ended (promise 5)?

use crate::support::Database;

/// Every row whose counters or position are not the running sums, as text.
const FAULTS: &str = "
WITH counted AS (
    SELECT r.*,
           (SELECT count(*) FROM generate_series(0, r.task_count - 1) i
            WHERE r.statuses IS NULL OR get_byte(r.statuses, i) = 1) AS row_succeeded,
           (SELECT count(*) FROM generate_series(0, r.task_count - 1) i
            WHERE r.statuses IS NOT NULL AND get_byte(r.statuses, i) = 2) AS row_mismatched,
           (SELECT count(*) FROM generate_series(0, r.task_count - 1) i
            WHERE r.statuses IS NOT NULL AND get_byte(r.statuses, i) = 3) AS row_failed
    FROM results r
), summed AS (
    SELECT counted.*,
           1 + coalesce(sum(task_count) OVER before, 0) AS wanted_position,
           sum(row_succeeded) OVER through AS wanted_succeeded,
           sum(row_mismatched) OVER through AS wanted_mismatched,
           sum(row_failed) OVER through AS wanted_failed
    FROM counted
    WINDOW through AS (PARTITION BY submission_id ORDER BY position),
           before AS (PARTITION BY submission_id ORDER BY position ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)
)
SELECT format('results of %s at position %s: counts %s/%s/%s, wanted position %s and %s/%s/%s', submission_id, position,
              succeeded, mismatched, failed, wanted_position, wanted_succeeded, wanted_mismatched, wanted_failed)
FROM summed
WHERE (position, succeeded, mismatched, failed)
      IS DISTINCT FROM (wanted_position, wanted_succeeded, wanted_mismatched, wanted_failed)
ORDER BY submission_id, position
LIMIT 20";

/// Tasks that two rows of results cover.
const TWICE: &str = "
SELECT format('task %s of batch %s of %s is covered by %s rows of results',
              first_task + i, sequence, submission_id, count(*))
FROM results, generate_series(0, task_count - 1) i
GROUP BY submission_id, sequence, first_task + i
HAVING count(*) > 1
LIMIT 20";

/// What is wrong with the results of all submissions of a database.
pub(crate) async fn faults(database: &Database) -> Vec<String> {
    let client = database.client().await;
    let mut faults = Vec::new();
    for query in [FAULTS, TWICE] {
        let rows = client.query(query, &[]).await.expect("Postgres answers");
        faults.extend(rows.iter().map(|row| row.get::<_, String>(0)));
    }
    faults
}
