-- The fence's first half, shards in ascending order: a takeover waits for us, or we for it.
SELECT pg_advisory_xact_lock_shared($1::integer, given.shard)
FROM unnest($2::smallint[]) AS given (shard)
