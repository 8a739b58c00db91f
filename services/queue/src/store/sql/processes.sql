-- The processes that share the shards.
SELECT id, address FROM queue_processes WHERE expires_at > clock_timestamp() ORDER BY id
