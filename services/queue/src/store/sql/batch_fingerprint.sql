SELECT fingerprint FROM batches WHERE submission_id = $1 AND sequence = $2
