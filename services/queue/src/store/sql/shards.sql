-- Every shard, and who owns it by the database's clock.
SELECT shard, shards.epoch, shards.owner, shards.address, expires_at > clock_timestamp() AS in_time
FROM shards
JOIN shard_leases USING (shard)
ORDER BY shard
