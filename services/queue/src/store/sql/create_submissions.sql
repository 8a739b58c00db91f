WITH given AS (
    SELECT unnest($1::uuid[]) AS id,
           unnest($2::text[]) AS tenant,
           unnest($3::smallint[]) AS shard,
           unnest($4::integer[]) AS algorithms_from,
           unnest($5::integer[]) AS algorithms_to,
           unnest($7::smallint[]) AS max_attempts,
           unnest($8::text[]) AS labels,
           unnest($9::uuid[]) AS retry_of,
           unnest($10::integer[]) AS batch_count,
           unnest($11::boolean[]) AS keep_inputs,
           unnest($12::bigint[]) AS retention_seconds,
           unnest($13::smallint[]) AS priority,
           unnest($14::timestamptz[]) AS not_before,
           unnest($15::timestamptz[]) AS deadline,
           unnest($16::integer[]) AS max_leased_tasks,
           unnest($17::boolean[]) AS completed,
           unnest($18::bigint[]) AS part_bytes,
           unnest($19::text[]) AS expansion_uri,
           unnest($20::text[]) AS schedule,
           unnest($21::uuid[]) AS previous_run,
           unnest($22::text[]) AS cache_mode
), written AS (
    INSERT INTO submissions (id, tenant, shard, state, algorithms, max_attempts, labels, retry_of, batch_count,
                             keep_inputs, retention_seconds, priority, not_before, deadline, max_leased_tasks,
                             part_bytes, expansion_uri, schedule, previous_run, cache_mode, ended_at, resolved_through)
    SELECT id, tenant, shard, CASE WHEN completed THEN 'completed' WHEN batch_count IS NULL THEN 'open' ELSE 'sealed' END,
           ($6::smallint[])[algorithms_from:algorithms_to], max_attempts, labels::jsonb, retry_of, batch_count,
           keep_inputs, retention_seconds, priority, not_before, deadline, max_leased_tasks,
           part_bytes, expansion_uri, schedule, previous_run, cache_mode, CASE WHEN completed THEN now() END, CASE WHEN completed THEN batch_count ELSE 0 END
    FROM given
    WHERE fenced()
    RETURNING 1
)
SELECT expect_rows(COUNT(*), cardinality($1)) FROM written
