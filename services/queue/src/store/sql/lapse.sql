UPDATE shard_leases SET expires_at = '-infinity'
