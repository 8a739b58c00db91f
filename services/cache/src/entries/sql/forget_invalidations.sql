WITH gone AS (
    DELETE FROM cache_invalidations WHERE at < now() - interval '1 day' RETURNING 1
)
SELECT count(*) FROM gone
