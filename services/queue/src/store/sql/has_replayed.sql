-- Whether the server behind this connection is a standby of cluster $2, follows timeline $3 (as in replica_identity.sql),
-- and has replayed the WAL up to $1.
SELECT pg_is_in_recovery() AND pg_last_wal_replay_lsn() >= $1 AND system_identifier = $2
       AND $3 = greatest(timeline_id, min_recovery_end_timeline, (SELECT received_tli FROM pg_stat_wal_receiver))
FROM pg_control_system(), pg_control_checkpoint(), pg_control_recovery()
