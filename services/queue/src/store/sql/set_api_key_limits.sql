WITH changed AS (
    UPDATE api_keys SET calls_per_minute = $3 WHERE id = $2 AND revoked_at IS NULL RETURNING *
), noted AS (
    INSERT INTO audit (actor, action, target, detail)
    SELECT $1, 'key.limits', id, 'calls a minute: ' || coalesce(calls_per_minute::text, 'as for all keys') FROM changed
)
SELECT id, tenant, scopes, description, created_at, expires_at, revoked_at, last_used_at, previous_until, calls_per_minute
FROM changed
