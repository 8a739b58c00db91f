-- Rows from the one that holds position $2 + 1 on, until $3 tasks or $4 bytes are reached. Sizes come from the TOAST
-- pointers, so payload is read for the rows that are returned only.
WITH near AS (
    SELECT position, sequence, first_task, task_count, attempt, statuses, outcomes, kernel, trace_context
    FROM results
    WHERE submission_id = $1
      AND position >= coalesce((SELECT position
                                FROM results
                                WHERE submission_id = $1 AND position <= $2 + 1
                                ORDER BY position DESC
                                LIMIT 1), 0)
    ORDER BY position
    LIMIT 512
), sized AS (
    SELECT near.*, names, name_ends,
           SUM(near.task_count - GREATEST(0, $2 + 1 - position)) OVER before AS tasks_before,
           SUM(octet_length(outcomes) + coalesce(octet_length(statuses), 0)
               + coalesce(octet_length(names)::bigint * near.task_count / batches.task_count, 0)) OVER before
               AS bytes_before
    FROM near
    LEFT JOIN batches ON batches.submission_id = $1 AND batches.sequence = near.sequence
    WINDOW before AS (ORDER BY position ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)
)
SELECT position, sequence, first_task, task_count, attempt, statuses, outcomes, kernel, trace_context,
       substring(names FROM coalesce(name_ends[first_task], 0) + 1
                 FOR name_ends[first_task + task_count] - coalesce(name_ends[first_task], 0)) AS names,
       coalesce(name_ends[first_task], 0) AS names_from,
       name_ends[first_task + 1:first_task + task_count] AS name_ends,
       (SELECT algorithms FROM submissions WHERE id = $1) AS algorithms
FROM sized
WHERE coalesce(tasks_before, 0) < $3 AND coalesce(bytes_before, 0) < $4
ORDER BY position
