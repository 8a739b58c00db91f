-- None, if the tenant has $7 already or one of this name.
INSERT INTO schedules (tenant, name, cron, time_zone, options, next_run_at)
SELECT $1, $2, $3, $4, $5, $6
WHERE (SELECT COUNT(*) FROM schedules WHERE tenant = $1) < $7
ON CONFLICT (tenant, name) DO NOTHING
RETURNING name, cron, time_zone, options, created_at, next_run_at, last_run, runs, skipped_runs
