-- Submissions by their ids ($1), newest first. $2 and $3 are the lowest and the highest of them: with these the planner
-- leaves out every day outside of them.
SELECT id, tenant, state, algorithms, max_attempts, keep_inputs, labels::text AS labels, retry_of, retention_seconds,
       created_at, ended_at, priority, not_before, deadline, max_leased_tasks, end_reason, part_bytes,
       expansion_uri, end_error_reason, end_error_message, schedule, previous_run, cache_mode,
       coalesce(last_batch.sequence + 1, 0) AS next_sequence, coalesce(last_batch.accepted_through, 0) AS accepted,
       coalesce(newest.succeeded, 0) AS succeeded, coalesce(newest.mismatched, 0) AS mismatched,
       coalesce(newest.failed, 0) AS failed, coalesce(newest.hashed_bytes, 0) AS hashed_bytes
FROM submissions
LEFT JOIN LATERAL (
    SELECT sequence, accepted_through
    FROM batches
    WHERE submission_id = submissions.id AND submission_id BETWEEN $2 AND $3
    ORDER BY sequence DESC
    LIMIT 1
) AS last_batch ON true
LEFT JOIN LATERAL (
    SELECT succeeded, mismatched, failed, hashed_bytes
    FROM results
    WHERE submission_id = submissions.id AND submission_id BETWEEN $2 AND $3
    ORDER BY position DESC
    LIMIT 1
) AS newest ON true
WHERE id = ANY($1::uuid[])
ORDER BY id DESC
