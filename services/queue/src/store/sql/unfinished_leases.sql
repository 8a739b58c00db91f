SELECT submission_id, sequence, first_task, task_count, attempt
FROM submissions
JOIN leases ON submission_id = id AND sequence >= resolved_through
WHERE state IN ('open', 'sealed') AND attempt > 1 AND ($1::uuid IS NULL OR id = $1)
ORDER BY submission_id, sequence, first_task
