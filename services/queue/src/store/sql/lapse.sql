WITH lapsed AS (UPDATE queue_processes SET expires_at = '-infinity')
UPDATE shard_leases SET expires_at = '-infinity'
