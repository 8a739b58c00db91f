UPDATE uploads
SET state = 4, deleted_at = now()
WHERE state <= 3 AND expires_at <= now()
