INSERT INTO uploads AS upload (id, tenant, expires_at)
SELECT $1, $2, now() + make_interval(secs => $3)
WHERE (SELECT count(*) FROM uploads WHERE tenant = $2 AND state <= 2 AND expires_at > now()) < $4
ON CONFLICT (id) DO NOTHING
RETURNING upload.id, upload.tenant, upload.state, upload.writer, upload.stored_bytes, upload.created_at, upload.completed_at, upload.expires_at
