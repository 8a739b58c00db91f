-- Which cluster this is a standby of, if it is one, the newest timeline it knows to follow, and which tables are meant.
-- The timelines all lag behind a failover of the primary by themselves, and none is ahead of it; received_tli is the first
-- to know, where this user may see it (pg_read_all_stats). In front of a newer timeline's first record Postgres refuses to
-- go on if it has replayed more of the old one than they share.
SELECT pg_is_in_recovery() AS in_recovery, system_identifier,
       greatest(timeline_id, min_recovery_end_timeline, (SELECT received_tli FROM pg_stat_wal_receiver)) AS timeline,
       (SELECT oid FROM pg_database WHERE datname = current_database()) AS database,
       current_schema()::regnamespace::oid AS schema
FROM pg_control_system(), pg_control_checkpoint(), pg_control_recovery()
