-- Which of the wanted keys are taken, by their place in the arrays.
SELECT wanted.place, submission_id, options_fingerprint
FROM unnest($1::smallint[], $2::text[], $3::text[]) WITH ORDINALITY AS wanted (shard, tenant, key, place)
JOIN idempotency_keys ON idempotency_keys.shard = wanted.shard
                     AND idempotency_keys.tenant = wanted.tenant AND idempotency_keys.key = wanted.key
