-- Before their submissions: a key that names nothing would keep a rerun from making a new one.
DELETE FROM idempotency_keys WHERE submission_id >= $1 AND submission_id < $2
