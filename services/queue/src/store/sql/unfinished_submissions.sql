-- $1: one submission, or NULL for all of the shards $2.
SELECT id, tenant, algorithms, max_attempts, keep_inputs, batch_count, resolved_through, resolved_position,
       coalesce(last_batch.sequence + 1, 0) AS next_sequence, coalesce(last_batch.accepted_through, 0) AS accepted,
       priority, not_before, deadline, max_leased_tasks, part_bytes, expansion_uri, cache_mode, last_batch.listed_to,
       coalesce(newest.succeeded, 0) AS succeeded, coalesce(newest.mismatched, 0) AS mismatched,
       coalesce(newest.failed, 0) AS failed, coalesce(newest.hashed_bytes, 0) AS hashed_bytes
FROM submissions
LEFT JOIN LATERAL (
    SELECT sequence, accepted_through, listed_to
    FROM batches
    WHERE submission_id = submissions.id
    ORDER BY sequence DESC
    LIMIT 1
) AS last_batch ON true
LEFT JOIN LATERAL (
    SELECT succeeded, mismatched, failed, hashed_bytes
    FROM results
    WHERE submission_id = submissions.id
    ORDER BY position DESC
    LIMIT 1
) AS newest ON true
WHERE state IN ('open', 'sealed') AND shard = ANY ($2::smallint[]) AND ($1::uuid IS NULL OR id = $1)
ORDER BY id
