UPDATE uploads
SET state = 4, deleted_at = now()
WHERE id = $1 AND tenant = $2 AND state <= 3 AND expires_at > now()
RETURNING true
