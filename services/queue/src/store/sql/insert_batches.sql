-- `unnest` in the target list streams; in FROM it would first copy every payload into a tuple store.
WITH given AS (
    SELECT unnest($1::uuid[]) AS submission_id,
           unnest($2::integer[]) AS sequence,
           unnest($3::integer[]) AS task_count,
           unnest($4::integer[]) AS byte_count,
           unnest($5::bigint[]) AS accepted_through,
           unnest($6::bytea[]) AS fingerprint,
           unnest($7::bytea[]) AS tasks,
           unnest($8::bytea[]) AS names,
           unnest($9::integer[]) AS ends_from,
           unnest($10::integer[]) AS ends_to,
           unnest($12::text[]) AS reference_prefix,
           unnest($13::bytea[]) AS listed_to,
           unnest($14::bytea[]) AS trace_context
), written AS (
    INSERT INTO batches (submission_id, sequence, task_count, byte_count, accepted_through, fingerprint, tasks,
                         names, name_ends, reference_prefix, listed_to, trace_context)
    SELECT submission_id, sequence, task_count, byte_count, accepted_through, fingerprint, tasks,
           names, CASE WHEN names IS NOT NULL THEN ($11::integer[])[ends_from:ends_to] END, reference_prefix, listed_to,
           trace_context
    FROM given
    WHERE fenced()
    RETURNING 1
)
SELECT expect_rows(COUNT(*), cardinality($1)) FROM written
