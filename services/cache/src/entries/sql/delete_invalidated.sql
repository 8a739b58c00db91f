-- $1: at most; $2: prefixes up to this generation were looked at before.
WITH covered AS (
    SELECT entry.key
    FROM cache_invalidations AS invalidation
    JOIN cache_entries AS entry
      ON starts_with(entry.uri, invalidation.uri) AND entry.generation < invalidation.generation
     AND (invalidation.tenant = '' OR invalidation.tenant = entry.tenant)
    WHERE invalidation.prefix AND invalidation.generation > $2
    UNION
    -- Put late, by who had begun to read before.
    SELECT entry.key
    FROM cache_invalidations AS invalidation
    JOIN cache_entries AS entry
      ON entry.uri = invalidation.uri AND entry.generation < invalidation.generation
     AND (invalidation.tenant = '' OR invalidation.tenant = entry.tenant)
    WHERE NOT invalidation.prefix AND invalidation.at < now() - interval '1 day'
    LIMIT $1
), gone AS (
    DELETE FROM cache_entries WHERE key IN (SELECT key FROM covered) RETURNING 1
)
SELECT count(*) FROM gone
