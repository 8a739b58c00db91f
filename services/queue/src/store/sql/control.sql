WITH written AS (
    INSERT INTO tenant_controls (tenant, paused, max_leased_tasks, tasks_per_day, bytes_per_day, sources)
    SELECT tenant, coalesce(paused, false), nullif(max_leased_tasks, 0), nullif(tasks_per_day, 0), nullif(bytes_per_day, 0),
           string_to_array(sources, E'\n')
    FROM unnest($1::text[], $2::boolean[], $3::integer[], $4::bigint[], $5::bigint[], $6::text[])
        AS given (tenant, paused, max_leased_tasks, tasks_per_day, bytes_per_day, sources)
    WHERE fenced()
    ON CONFLICT (tenant) DO UPDATE
    SET paused = coalesce((($2::boolean[])[array_position($1::text[], excluded.tenant)]), tenant_controls.paused),
        max_leased_tasks = CASE
            WHEN ($3::integer[])[array_position($1::text[], excluded.tenant)] IS NULL
            THEN tenant_controls.max_leased_tasks
            ELSE excluded.max_leased_tasks
        END,
        tasks_per_day = CASE
            WHEN ($4::bigint[])[array_position($1::text[], excluded.tenant)] IS NULL
            THEN tenant_controls.tasks_per_day
            ELSE excluded.tasks_per_day
        END,
        bytes_per_day = CASE
            WHEN ($5::bigint[])[array_position($1::text[], excluded.tenant)] IS NULL
            THEN tenant_controls.bytes_per_day
            ELSE excluded.bytes_per_day
        END,
        sources = coalesce(excluded.sources, tenant_controls.sources),
        updated_at = now()
    RETURNING 1
)
SELECT expect_rows(COUNT(*), cardinality($1)) FROM written
