WITH released AS (
    UPDATE shards
    SET owner = NULL, address = ''
    FROM unnest($1::smallint[], $2::bigint[]) AS held (shard, epoch)
    WHERE shards.shard = held.shard AND shards.epoch = held.epoch
    RETURNING shards.shard, shards.epoch
)
UPDATE shard_leases
SET expires_at = '-infinity'
FROM released
WHERE shard_leases.shard = released.shard AND shard_leases.epoch = released.epoch
