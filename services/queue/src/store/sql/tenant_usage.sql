-- What process $2 has counted on day $1.
SELECT tenant, day - date '1970-01-01' AS day, tasks, bytes
FROM tenant_usage_parts
WHERE day = date '1970-01-01' + $1 AND process = $2
