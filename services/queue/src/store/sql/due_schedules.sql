-- By the clock of the database, the longest due first.
SELECT tenant, name, cron, time_zone, options, created_at, next_run_at, last_run, runs, skipped_runs
FROM schedules
WHERE next_run_at <= clock_timestamp()
ORDER BY next_run_at
LIMIT 100
