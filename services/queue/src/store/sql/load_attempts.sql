-- Ranges of loaded batches that have failed before.
SELECT submission_id, sequence, first_task, task_count, attempt
FROM unnest($1::uuid[], $2::integer[], $3::integer[]) AS wanted (id, from_sequence, through)
JOIN leases ON submission_id = id AND sequence >= from_sequence AND sequence < through
WHERE attempt > 1
ORDER BY submission_id, sequence, first_task
