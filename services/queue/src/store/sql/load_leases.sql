-- What is known of ranges of loaded batches: attempts made, workers lost with them, and who held them.
SELECT submission_id, sequence, first_task, task_count, attempt, strikes, worker
FROM unnest($1::uuid[], $2::integer[], $3::integer[]) AS wanted (id, from_sequence, through)
JOIN leases ON submission_id = id AND sequence >= from_sequence AND sequence < through
ORDER BY submission_id, sequence, first_task
