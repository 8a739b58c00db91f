SELECT submission_id, options_fingerprint FROM idempotency_keys WHERE shard = $1 AND tenant = $2 AND key = $3
