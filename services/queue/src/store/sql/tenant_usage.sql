SELECT tenant, day - date '1970-01-01' AS day, tasks, bytes FROM tenant_usage WHERE day >= date '1970-01-01' + $1
