DELETE FROM results_default WHERE submission_id >= $1 AND submission_id < $2
