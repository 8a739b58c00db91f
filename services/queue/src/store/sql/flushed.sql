-- How far the WAL is on disk: behind every commit that was acknowledged, or seen by anybody, so far.
SELECT pg_current_wal_flush_lsn()
