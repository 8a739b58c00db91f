-- All or nothing: an owner that lost one shard must not keep others from being taken.
-- $1, $2: the shards and their epochs. $3: for how many milliseconds. $4, $5: the process and its address; it takes part in
-- sharing from now on, until it lapses.
WITH renewed AS (
    UPDATE shard_leases
    SET expires_at = clock_timestamp() + $3::bigint * INTERVAL '1 millisecond'
    FROM unnest($1::smallint[], $2::bigint[]) AS held (shard, epoch)
    WHERE shard_leases.shard = held.shard AND shard_leases.epoch = held.epoch
    RETURNING 1
), present AS (
    INSERT INTO queue_processes (id, address, expires_at)
    SELECT $4::uuid, $5::text, clock_timestamp() + $3::bigint * INTERVAL '1 millisecond'
    WHERE $5::text IS NOT NULL
    ON CONFLICT (id) DO UPDATE SET address = excluded.address, expires_at = excluded.expires_at
)
SELECT expect_rows(COUNT(*), cardinality($1)) FROM renewed
