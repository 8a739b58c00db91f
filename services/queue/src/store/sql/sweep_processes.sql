-- Processes that ended without a word, long ago.
DELETE FROM queue_processes WHERE expires_at < clock_timestamp() - INTERVAL '1 hour'
