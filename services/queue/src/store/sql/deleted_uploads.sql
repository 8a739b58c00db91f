SELECT id, tenant, deleted_at <= now() - make_interval(secs => $1) AS for_good
FROM uploads
WHERE state = 4 AND (emptied_at IS NULL OR deleted_at <= now() - make_interval(secs => $1))
ORDER BY deleted_at
LIMIT $2
