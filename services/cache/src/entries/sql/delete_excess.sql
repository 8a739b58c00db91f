-- As the planner counts them, but for few, where it is often wrong.
WITH kept AS (
    SELECT CASE WHEN reltuples < 50000 THEN (SELECT count(*) FROM cache_entries) ELSE reltuples::bigint END AS entries
    FROM pg_class WHERE oid = 'cache_entries'::regclass
), gone AS (
    DELETE FROM cache_entries
    WHERE key IN (SELECT key FROM cache_entries ORDER BY worth
                  LIMIT greatest(0, least($2, (SELECT entries FROM kept) - $1))
                  FOR UPDATE SKIP LOCKED)
    RETURNING 1
)
SELECT count(*) FROM gone
