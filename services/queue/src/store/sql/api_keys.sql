SELECT id, tenant, scopes, description, created_at, expires_at, revoked_at, last_used_at, previous_until, calls_per_minute
FROM api_keys
WHERE ($1 = '' OR tenant = $1)
  AND ($2 = '' OR (created_at, id) < (SELECT created_at, id FROM api_keys WHERE id = $2))
ORDER BY created_at DESC, id DESC
LIMIT $3
