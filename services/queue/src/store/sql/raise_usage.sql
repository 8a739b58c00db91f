-- Never falls: a process that begins anew with less than it had counted does not undo it.
INSERT INTO tenant_usage_parts (tenant, day, process, tasks, bytes)
SELECT tenant, date '1970-01-01' + day, $5::uuid, tasks, bytes
FROM unnest($1::text[], $2::integer[], $3::bigint[], $4::bigint[]) AS given (tenant, day, tasks, bytes)
WHERE fenced()
ON CONFLICT (tenant, day, process) DO UPDATE
SET tasks = greatest(tenant_usage_parts.tasks, excluded.tasks), bytes = greatest(tenant_usage_parts.bytes, excluded.bytes)
