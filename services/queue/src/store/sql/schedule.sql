SELECT name, cron, time_zone, options, created_at, next_run_at, last_run, runs, skipped_runs
FROM schedules
WHERE tenant = $1 AND name = $2
