-- Under the exclusive lock (its class is $5), so no write of the old epoch is under way. No row: somebody else was faster, or
-- this runs outside of the transaction that has the lock, because that could not begin.
WITH taken AS (
    UPDATE shards
    SET owner = $2, epoch = shards.epoch + 1, address = $3
    FROM shard_leases AS lease
    WHERE shards.shard = $1 AND lease.shard = $1
      AND EXISTS (SELECT FROM pg_locks
                  WHERE locktype = 'advisory' AND pid = pg_backend_pid() AND mode = 'ExclusiveLock' AND granted
                    AND classid = $5::integer::oid AND objid = $1::integer::oid AND objsubid = 2)
      AND (shards.owner IS NULL OR shards.owner = $2 OR lease.expires_at <= clock_timestamp())
    RETURNING shards.shard, shards.epoch
), leased AS (
    UPDATE shard_leases
    SET epoch = taken.epoch, expires_at = clock_timestamp() + $4::bigint * INTERVAL '1 millisecond'
    FROM taken
    WHERE shard_leases.shard = taken.shard
)
SELECT epoch FROM taken
