-- What single processes have counted on days that are over for good becomes one row for each tenant and day.
WITH parts AS (
    DELETE FROM tenant_usage_parts
    WHERE day < (now() AT TIME ZONE 'UTC')::date - 1
    RETURNING tenant, day, tasks, bytes
)
INSERT INTO tenant_usage (tenant, day, tasks, bytes)
SELECT tenant, day, sum(tasks)::bigint, sum(bytes)::bigint FROM parts GROUP BY tenant, day
ON CONFLICT (tenant, day) DO UPDATE
SET tasks = tenant_usage.tasks + excluded.tasks, bytes = tenant_usage.bytes + excluded.bytes
