WITH changed AS (
    UPDATE api_keys
    SET previous_hash = text_hash, previous_until = now() + make_interval(secs => $4), text_hash = $3
    WHERE id = $2 AND revoked_at IS NULL
    RETURNING *
), noted AS (
    INSERT INTO audit (actor, action, target, detail)
    SELECT $1, 'key.rotate', id, 'the secret before is accepted until ' || previous_until FROM changed
)
SELECT id, tenant, scopes, description, created_at, expires_at, revoked_at, last_used_at, previous_until, calls_per_minute FROM changed
