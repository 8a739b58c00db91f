SELECT sequence + 1 FROM batches WHERE submission_id = $1 ORDER BY sequence DESC LIMIT 1
