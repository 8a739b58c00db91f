UPDATE uploads AS upload
SET writer = writer + 1
WHERE id = $1 AND tenant = $2 AND state = 1 AND expires_at > now() AND stored_bytes = $3
  AND (SELECT count(*) FROM upload_runs WHERE upload_id = $1) < $4
RETURNING upload.id, upload.tenant, upload.state, upload.writer, upload.stored_bytes, upload.created_at, upload.completed_at, upload.expires_at
