WITH stored AS (
    UPDATE uploads AS upload
    SET stored_bytes = stored_bytes + $5, expires_at = now() + make_interval(secs => $6)
    WHERE id = $1 AND tenant = $2 AND state = 1 AND writer = $3 AND stored_bytes = $4
    RETURNING upload.id, upload.tenant, upload.state, upload.writer, upload.stored_bytes, upload.created_at, upload.completed_at, upload.expires_at
), run AS (
    INSERT INTO upload_runs (upload_id, writer, bytes)
    SELECT $1, $3, $5 FROM stored
    ON CONFLICT (upload_id, writer) DO UPDATE SET bytes = upload_runs.bytes + EXCLUDED.bytes
)
SELECT * FROM stored
