UPDATE uploads AS upload
SET state = 3, completed_at = now(), expires_at = now() + make_interval(secs => $3)
WHERE id = $1 AND tenant = $2 AND state = 2
RETURNING upload.id, upload.tenant, upload.state, upload.writer, upload.stored_bytes, upload.created_at, upload.completed_at, upload.expires_at
