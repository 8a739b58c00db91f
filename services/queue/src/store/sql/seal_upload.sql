UPDATE uploads AS upload
SET state = 2
WHERE id = $1 AND tenant = $2 AND state = 1 AND writer = $3 AND stored_bytes = $4
RETURNING upload.id, upload.tenant, upload.state, upload.writer, upload.stored_bytes, upload.created_at, upload.completed_at, upload.expires_at
