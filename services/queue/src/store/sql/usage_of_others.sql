-- What all but process $2 have counted on day $1, of the tenant $3; NULL: of all that have a quota.
SELECT tenant, day - date '1970-01-01' AS day, sum(tasks)::bigint AS tasks, sum(bytes)::bigint AS bytes
FROM (SELECT tenant, day, tasks, bytes FROM tenant_usage_parts WHERE process <> $2
      UNION ALL
      SELECT tenant, day, tasks, bytes FROM tenant_usage) AS counted
WHERE day = date '1970-01-01' + $1
  AND CASE WHEN $3::text IS NULL
           THEN tenant IN (SELECT tenant FROM tenant_controls WHERE tasks_per_day IS NOT NULL OR bytes_per_day IS NOT NULL)
           ELSE tenant = $3
      END
GROUP BY tenant, day
