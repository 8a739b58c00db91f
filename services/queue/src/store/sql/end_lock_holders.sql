-- Ends every other backend that holds the lock of a shard which $4 may take, and waits for it to be gone. No timeout of
-- Postgres ends a backend whose client stopped in the middle of a COPY. Spared: another takeover in its first seconds.
SELECT pg_terminate_backend(holder.pid, $3::bigint)
FROM pg_locks AS holder
LEFT JOIN pg_stat_activity AS activity ON activity.pid = holder.pid
WHERE holder.locktype = 'advisory'
  AND holder.database = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND holder.classid = $1::integer::oid AND holder.objid = $2::integer::oid AND holder.objsubid = 2
  AND holder.granted AND holder.pid <> pg_backend_pid()
  AND NOT (holder.mode = 'ExclusiveLock' AND activity.xact_start > clock_timestamp() - INTERVAL '5 seconds')
  AND EXISTS (SELECT FROM shards JOIN shard_leases USING (shard)
              WHERE shard = $2::integer AND (owner IS NULL OR owner = $4::uuid OR expires_at <= clock_timestamp()))
