UPDATE cache_entries AS kept
SET uses = least(kept.uses, 1000000) + given.uses, worth = now() + (kept.worth - kept.used_at), used_at = now()
FROM (SELECT set_config('synchronous_commit', 'off', true)) AS hurried,
     (SELECT key, uses FROM unnest($1::bytea[], $2::integer[]) AS given (key, uses) ORDER BY key) AS given
WHERE kept.key = given.key
