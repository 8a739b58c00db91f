-- How far a standby has replayed the WAL; NULL once it is none any more.
SELECT CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() END
