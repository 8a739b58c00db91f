WITH gone AS (
    DELETE FROM cache_entries
    WHERE key IN (SELECT key FROM cache_entries WHERE worth < now() - $1 * interval '1 second' ORDER BY worth LIMIT $2
                  FOR UPDATE SKIP LOCKED)
    RETURNING 1
)
SELECT count(*) FROM gone
