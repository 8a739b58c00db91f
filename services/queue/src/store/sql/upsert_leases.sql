INSERT INTO leases (submission_id, sequence, first_task, task_count, attempt, worker, strikes)
SELECT given.submission_id, given.sequence, given.first_task, given.task_count, given.attempt, given.worker, given.strikes
FROM unnest($1::uuid[], $2::integer[], $3::integer[], $4::integer[], $5::smallint[], $6::text[], $7::smallint[])
     AS given (submission_id, sequence, first_task, task_count, attempt, worker, strikes)
WHERE fenced()
ON CONFLICT (submission_id, sequence, first_task) DO UPDATE
SET task_count = excluded.task_count, attempt = excluded.attempt, worker = excluded.worker, strikes = excluded.strikes,
    since = now()
