WITH changed AS (
    UPDATE api_keys SET revoked_at = now() WHERE id = $2 AND revoked_at IS NULL RETURNING *
), noted AS (
    INSERT INTO audit (actor, action, target) SELECT $1, 'key.revoke', id FROM changed
)
SELECT id, tenant, scopes, description, created_at, expires_at, revoked_at, last_used_at, previous_until, calls_per_minute FROM changed
UNION ALL
-- As it was before this statement: revoked already.
SELECT id, tenant, scopes, description, created_at, expires_at, revoked_at, last_used_at, previous_until, calls_per_minute FROM api_keys WHERE id = $2 AND revoked_at IS NOT NULL
