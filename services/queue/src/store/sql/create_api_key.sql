WITH noted AS (
    INSERT INTO audit (actor, action, target, detail) VALUES ($1, 'key.create', $2, $8)
)
INSERT INTO api_keys (id, tenant, scopes, description, text_hash, expires_at, calls_per_minute)
VALUES ($2, $3, $4, $5, $6, $7, $9)
RETURNING id, tenant, scopes, description, created_at, expires_at, revoked_at, last_used_at, previous_until, calls_per_minute
