SELECT sequence, tasks, names, name_ends FROM batches WHERE submission_id = $1 AND sequence = ANY ($2)
