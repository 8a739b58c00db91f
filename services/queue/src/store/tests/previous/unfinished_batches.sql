SELECT submission_id, sequence, task_count, byte_count, fingerprint, reference_prefix
FROM submissions
JOIN batches ON submission_id = id
WHERE state IN ('open', 'sealed') AND ($1::uuid IS NULL OR id = $1)
ORDER BY submission_id, sequence
