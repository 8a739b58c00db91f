-- Some at a time ($3), so that no transaction is long.
DELETE FROM submissions
WHERE id IN (SELECT id FROM submissions WHERE id >= $1 AND id < $2 ORDER BY id LIMIT $3)
  AND state IN ('completed', 'cancelled')
