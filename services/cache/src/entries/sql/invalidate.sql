-- The row of cache_state is locked until the commit: generations are committed in their order.
WITH next AS (
    UPDATE cache_state SET generation = generation + 1 RETURNING generation
), noted AS (
    INSERT INTO cache_invalidations (generation, tenant, uri, prefix)
    SELECT generation, $1, $2, $3 FROM next
    RETURNING generation
), gone AS (
    DELETE FROM cache_entries WHERE NOT $3 AND uri = $2 AND ($1 = '' OR tenant = $1) RETURNING key
)
SELECT noted.generation, ARRAY(SELECT key FROM gone) AS keys FROM noted
