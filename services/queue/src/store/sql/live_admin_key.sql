SELECT FROM api_keys
WHERE $1 = ANY(scopes) AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now())
LIMIT 1
