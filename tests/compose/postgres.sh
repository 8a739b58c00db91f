#!/bin/bash
# Does what compose.yaml needs of the entrypoint of the official image of Postgres: a database from POSTGRES_… and
# /docker-entrypoint-initdb.d if there is none, then the server.
set -euo pipefail

[ "${1:-}" = postgres ] || exec "$@"
export POSTGRES_USER=${POSTGRES_USER:-postgres}
if [ ! -s "$PGDATA/PG_VERSION" ]; then
    mkdir -p "$PGDATA"
    chmod 0700 "$PGDATA"
    # shellcheck disable=SC2086
    initdb --pgdata "$PGDATA" --username "$POSTGRES_USER" --pwfile "$POSTGRES_PASSWORD_FILE" --auth-local trust \
        ${POSTGRES_INITDB_ARGS:-} >/dev/null
    echo "host all all all scram-sha-256" >> "$PGDATA/pg_hba.conf"
    pg_ctl --pgdata "$PGDATA" --wait --options "-c listen_addresses=''" start >/dev/null
    psql --username "$POSTGRES_USER" --dbname postgres --quiet --command "CREATE DATABASE \"$POSTGRES_DB\""
    for script in /docker-entrypoint-initdb.d/*.sh; do "$script"; done
    pg_ctl --pgdata "$PGDATA" --mode fast --wait stop >/dev/null
fi
exec "$@" -c listen_addresses='*'
