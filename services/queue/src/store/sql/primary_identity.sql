-- Which cluster this is, the timeline it writes (the first 8 hexadecimal digits of the name of its WAL file), and which
-- tables of it are meant: OIDs are the same on every standby. Fails on a standby.
SELECT system_identifier,
       ('x' || substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8))::bit(32)::int AS timeline,
       (SELECT oid FROM pg_database WHERE datname = current_database()) AS database,
       current_schema()::regnamespace::oid AS schema
FROM pg_control_system()
