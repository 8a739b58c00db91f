SELECT id FROM submissions WHERE id >= $1 ORDER BY id LIMIT 1
