DELETE FROM batches_default WHERE submission_id >= $1 AND submission_id < $2
