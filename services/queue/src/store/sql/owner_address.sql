SELECT address
FROM shards
JOIN shard_leases USING (shard)
WHERE owner IS NOT NULL AND expires_at > clock_timestamp()
ORDER BY shard
LIMIT 1
