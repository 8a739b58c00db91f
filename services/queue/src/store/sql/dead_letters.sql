-- Rows that hold a FAILED outcome (3) at or behind position $2 + 1.
SELECT position, sequence, first_task, task_count, statuses
FROM results
WHERE submission_id = $1 AND position + task_count > $2 + 1 AND position('\x03'::bytea IN statuses) > 0
ORDER BY results.position
LIMIT $3
