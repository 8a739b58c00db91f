-- The first unresolved batches of each wanted submission: those whose outcomes do not cover them. Outcomes of batches that
-- are not in memory have positions in (after_position, to_position].
SELECT wanted.id AS submission_id, found.*
FROM unnest($1::uuid[], $2::integer[], $3::integer[], $4::bigint[], $5::bigint[], $6::integer[])
     AS wanted (id, from_sequence, to_sequence, after_position, to_position, count)
CROSS JOIN LATERAL (
    SELECT batches.sequence, batches.task_count, byte_count, fingerprint, reference_prefix, trace_context,
           coalesce(recorded.tasks, 0) AS recorded
    FROM batches
    LEFT JOIN (
        SELECT sequence, SUM(task_count) AS tasks
        FROM results
        WHERE submission_id = wanted.id AND position > wanted.after_position AND position <= wanted.to_position
        GROUP BY sequence
    ) AS recorded ON recorded.sequence = batches.sequence
    WHERE submission_id = wanted.id
      AND batches.sequence >= wanted.from_sequence AND batches.sequence < wanted.to_sequence
      AND batches.task_count > coalesce(recorded.tasks, 0)
    ORDER BY batches.sequence
    LIMIT wanted.count
) AS found
ORDER BY wanted.id, found.sequence
