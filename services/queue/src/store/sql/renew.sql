-- All or nothing: an owner that lost one shard must not keep others from being taken.
WITH renewed AS (
    UPDATE shard_leases
    SET expires_at = clock_timestamp() + $3::bigint * INTERVAL '1 millisecond'
    FROM unnest($1::smallint[], $2::bigint[]) AS held (shard, epoch)
    WHERE shard_leases.shard = held.shard AND shard_leases.epoch = held.epoch
    RETURNING 1
)
SELECT expect_rows(COUNT(*), cardinality($1)) FROM renewed
