#!/usr/bin/env bash
# Run once, when the database is made: a login for each of those that use it, with passwords from files. The Queue's owns the
# tables (it brings them up to date, and ends the sessions of an owner before it); the others use them.
set -euo pipefail

psql --set ON_ERROR_STOP=1 --username "$POSTGRES_USER" --dbname "$POSTGRES_DB" --no-psqlrc <<'SQL'
\set queue `cat /run/secrets/queue`
\set cache `cat /run/secrets/cache`
\set pool `cat /run/secrets/pool`
CREATE ROLE hashmesh LOGIN PASSWORD :'queue';
CREATE ROLE hashmesh_cache LOGIN PASSWORD :'cache' IN ROLE hashmesh;
CREATE ROLE hashmesh_pool LOGIN PASSWORD :'pool' IN ROLE hashmesh;
ALTER DATABASE :"DBNAME" OWNER TO hashmesh;
REVOKE ALL ON DATABASE :"DBNAME" FROM PUBLIC;
GRANT CONNECT ON DATABASE :"DBNAME" TO hashmesh, hashmesh_cache, hashmesh_pool;
-- Behind PgBouncer sessions have no timeouts of their own: the next statement may run in another one.
ALTER ROLE hashmesh_pool SET statement_timeout = '30s';
ALTER ROLE hashmesh_pool SET lock_timeout = '5s';
SQL
