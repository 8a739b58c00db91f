WITH written AS (
    INSERT INTO tenant_controls (tenant, paused, max_leased_tasks)
    SELECT tenant, coalesce(paused, false), nullif(max_leased_tasks, 0)
    FROM unnest($1::text[], $2::boolean[], $3::integer[]) AS given (tenant, paused, max_leased_tasks)
    WHERE fenced()
    ON CONFLICT (tenant) DO UPDATE
    SET paused = coalesce((($2::boolean[])[array_position($1::text[], excluded.tenant)]), tenant_controls.paused),
        max_leased_tasks = CASE
            WHEN ($3::integer[])[array_position($1::text[], excluded.tenant)] IS NULL
            THEN tenant_controls.max_leased_tasks
            ELSE excluded.max_leased_tasks
        END,
        updated_at = now()
    RETURNING 1
)
SELECT expect_rows(COUNT(*), cardinality($1)) FROM written
