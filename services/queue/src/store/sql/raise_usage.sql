-- Never falls: an owner that began with less than was counted before does not undo it.
INSERT INTO tenant_usage (tenant, day, tasks, bytes)
SELECT tenant, date '1970-01-01' + day, tasks, bytes
FROM unnest($1::text[], $2::integer[], $3::bigint[], $4::bigint[]) AS given (tenant, day, tasks, bytes)
WHERE fenced()
ON CONFLICT (tenant, day) DO UPDATE
SET tasks = greatest(tenant_usage.tasks, excluded.tasks), bytes = greatest(tenant_usage.bytes, excluded.bytes)
