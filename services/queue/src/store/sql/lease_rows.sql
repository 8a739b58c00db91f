SELECT submission_id, sequence, first_task, task_count, attempt, worker, strikes
FROM leases
WHERE shard_of(submission_id) = ANY ($1::smallint[])
