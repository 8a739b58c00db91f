WITH given AS (
    SELECT unnest($1::uuid[]) AS submission_id,
           unnest($2::bigint[]) AS position,
           unnest($3::integer[]) AS sequence,
           unnest($4::integer[]) AS first_task,
           unnest($5::integer[]) AS task_count,
           unnest($6::smallint[]) AS attempt,
           unnest($7::bytea[]) AS statuses,
           unnest($8::bytea[]) AS outcomes,
           unnest($9::text[]) AS kernel,
           unnest($10::bigint[]) AS succeeded,
           unnest($11::bigint[]) AS mismatched,
           unnest($12::bigint[]) AS failed,
           unnest($13::bigint[]) AS hashed_bytes,
           unnest($14::bytea[]) AS trace_context
), written AS (
    INSERT INTO results (submission_id, position, sequence, first_task, task_count, attempt, statuses, outcomes, kernel,
                         succeeded, mismatched, failed, hashed_bytes, trace_context)
    SELECT submission_id, position, sequence, first_task, task_count, attempt, statuses, outcomes, kernel,
           succeeded, mismatched, failed, hashed_bytes, trace_context
    FROM given
    WHERE fenced()
    RETURNING 1
)
SELECT expect_rows(COUNT(*), cardinality($1)) FROM written
