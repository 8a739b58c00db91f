SELECT submission_id, sequence, first_task, task_count
FROM submissions
JOIN results ON submission_id = id AND sequence >= resolved_through
WHERE state IN ('open', 'sealed') AND ($1::uuid IS NULL OR id = $1)
ORDER BY submission_id, sequence, first_task
