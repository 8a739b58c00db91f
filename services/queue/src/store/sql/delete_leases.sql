DELETE FROM leases
USING unnest($1::uuid[], $2::integer[], $3::integer[]) AS given (submission_id, sequence, first_task)
WHERE leases.submission_id = given.submission_id AND leases.sequence = given.sequence
  AND leases.first_task = given.first_task AND fenced()
