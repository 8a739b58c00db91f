-- A key, and what is accepted of it now.
SELECT id, tenant, scopes, description, created_at, expires_at, revoked_at, last_used_at, previous_until, calls_per_minute,
       CASE WHEN live THEN text_hash END AS text_hash,
       (SELECT sources FROM tenant_controls WHERE tenant_controls.tenant = keys.tenant) AS sources,
       CASE WHEN live AND previous_until > now() THEN previous_hash END AS previous_hash
FROM (SELECT *, revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now()) AS live FROM api_keys) AS keys
WHERE id = $1
