-- Shards that this owner may take: nobody's, its own, or abandoned by the database's clock.
SELECT COUNT(*)
FROM shards
JOIN shard_leases USING (shard)
WHERE owner IS NULL OR owner = $1 OR expires_at <= clock_timestamp()
