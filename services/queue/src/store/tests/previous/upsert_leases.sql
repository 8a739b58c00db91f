INSERT INTO leases (submission_id, sequence, first_task, task_count, attempt, worker)
SELECT given.submission_id, given.sequence, given.first_task, given.task_count, given.attempt, given.worker
FROM unnest($1::uuid[], $2::integer[], $3::integer[], $4::integer[], $5::smallint[], $6::text[])
     AS given (submission_id, sequence, first_task, task_count, attempt, worker)
WHERE fenced()
ON CONFLICT (submission_id, sequence, first_task) DO UPDATE
SET task_count = excluded.task_count, attempt = excluded.attempt, worker = excluded.worker, since = now()
