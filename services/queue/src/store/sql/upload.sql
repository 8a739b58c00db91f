SELECT upload.id, upload.tenant, upload.state, upload.writer, upload.stored_bytes, upload.created_at, upload.completed_at, upload.expires_at
FROM uploads AS upload
WHERE id = $1 AND tenant = $2 AND state <= 3 AND expires_at > now()
