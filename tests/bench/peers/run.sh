#!/usr/bin/env bash
# hashmesh and other queues side by side: `run.sh HASHMESH [PEER…]` (default: all that bench.py knows; PgQue, which no registry
# has, only if PGQUE_SQL names its SQL file). Builds what the peers need outside of the source tree, starts a private Postgres and
# Redis, and runs one peer after the other. Stdout: a JSON object per peer, a table, a verdict; target/reports/bench-peers.json.
#
#   REPS=2         runs per peer, of which the best counts     SWEEP=1   try other settings first, at half the tasks
#   N=5000         tasks of every run, for a quick look        RELATIVE_MINIMUMS="river=45 …"   below these it fails
#   PEERS_CACHE    where drivers are built                     POSTGRES_BIN  the server's programs (default: the newest of Debian's)
#
# On Debian as root missing tools are installed; elsewhere they are named. Runs in the root of the source tree.
set -euo pipefail

PEERS_HASHMESH=$(realpath -- "$1")
shift
peers=("$@")
if [ "${#peers[@]}" -eq 0 ]; then
    peers=(hashmesh hashmesh-keep skiplocked river graphile pgmq pgmq-pop awa apalis celery-pg celery-redis)
    [ -z "${PGQUE_SQL:-}" ] || peers+=(pgque)
fi
case " ${peers[*]} " in
*" hashmesh "*) ;;
*) peers=(hashmesh "${peers[@]}") ;;
esac
PEERS_HERE=$(cd "$(dirname "$0")" && pwd)
PEERS_CACHE=${PEERS_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/hashmesh/peers}
mkdir -p "$PEERS_CACHE"

wants() { [[ " ${peers[*]} " =~ \ ($1)\  ]]; }

# command:Debian package
tools=(python3:python3-venv psql:postgresql-client jq:jq curl:curl go:golang-go)
! wants 'graphile' || tools+=(npm:npm)
! wants 'celery-.*' || tools+=(redis-server:redis-server)
missing=()
for tool in "${tools[@]}"; do
    command -v "${tool%%:*}" >/dev/null || missing+=("${tool##*:}")
done
if [ -z "${POSTGRES_BIN:-}" ] && ! compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null; then
    missing+=(postgresql)
fi
if [ "${#missing[@]}" -gt 0 ]; then
    if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
        echo "missing: ${missing[*]}" >&2
        exit 1
    fi
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
fi
if [ -z "${POSTGRES_BIN:-}" ]; then
    POSTGRES_BIN=$(compgen -G '/usr/lib/postgresql/*/bin' | sort --version-sort | tail -n 1)
fi

(cd "$PEERS_HERE/go" && go build -o "$PEERS_CACHE/go-peers" .)
crates=()
! wants 'pgmq.*' || crates+=(--package peer-pgmq-sql)
! wants 'awa' || crates+=(--package peer-awa)
! wants 'apalis' || crates+=(--package peer-apalis)
if [ "${#crates[@]}" -gt 0 ]; then
    (cd "$PEERS_HERE/rust" && CARGO_TARGET_DIR=$PEERS_CACHE/target cargo build --quiet --release --locked "${crates[@]}")
fi
if wants 'graphile'; then
    mkdir -p "$PEERS_CACHE/js"
    cp "$PEERS_HERE/js/graphile.mjs" "$PEERS_CACHE/js/"
    if ! cmp --silent "$PEERS_HERE/js/package-lock.json" "$PEERS_CACHE/js/package-lock.json"; then
        cp "$PEERS_HERE/js/package.json" "$PEERS_HERE/js/package-lock.json" "$PEERS_CACHE/js/"
        # A lock file that is there says that everything was installed.
        (cd "$PEERS_CACHE/js" && npm ci --silent --no-audit --no-fund) || { rm "$PEERS_CACHE/js/package-lock.json"; exit 1; }
    fi
fi
if wants 'celery-.*' && ! cmp --silent "$PEERS_HERE/py/requirements.txt" "$PEERS_CACHE/venv/requirements.txt"; then
    python3 -m venv --clear "$PEERS_CACHE/venv"
    "$PEERS_CACHE/venv/bin/pip" --quiet --disable-pip-version-check install --requirement "$PEERS_HERE/py/requirements.txt"
    cp "$PEERS_HERE/py/requirements.txt" "$PEERS_CACHE/venv/"
fi

# shellcheck source=tests/tools/mesh.sh
. tests/tools/mesh.sh

# Below /tmp, because Postgres, which refuses to run as root, must reach it.
data=$(mktemp -d /tmp/hashmesh-peers.XXXXXX)
redis=
as_postgres() {
    if [ "$(id -u)" -eq 0 ]; then (cd / && setpriv --reuid postgres --regid postgres --clear-groups "$@"); else "$@"; fi
}
stop() {
    [ -z "$redis" ] || kill "$redis" 2>/dev/null || true
    as_postgres "$POSTGRES_BIN/pg_ctl" --pgdata "$data/postgres" --mode immediate --silent stop || true
    rm -rf "$data"
}
trap stop EXIT
mkdir "$data/redis"
[ "$(id -u)" -ne 0 ] || chown postgres "$data"
as_postgres "$POSTGRES_BIN/initdb" --pgdata "$data/postgres" --auth trust --username postgres >/dev/null
port=$(free_port)
cat >>"$data/postgres/postgresql.conf" <<CONFIGURATION
listen_addresses = '127.0.0.1'
port = $port
unix_socket_directories = ''
fsync = on
synchronous_commit = on
max_connections = 200
shared_buffers = 1GB
max_wal_size = 8GB
checkpoint_timeout = 30min
CONFIGURATION
as_postgres "$POSTGRES_BIN/pg_ctl" --pgdata "$data/postgres" --log "$data/postgres.log" --wait --silent start
REDIS_URL=
if wants 'celery-.*'; then
    REDIS_URL=redis://127.0.0.1:$(free_port)
    # As durable as Postgres: each command is on the disk before its answer.
    redis-server --port "${REDIS_URL##*:}" --bind 127.0.0.1 --dir "$data/redis" --save '' --appendonly yes --appendfsync always \
        >"$data/redis.log" 2>&1 &
    redis=$!
fi

server=postgresql://postgres@127.0.0.1:$port
export PEERS_HASHMESH PEERS_HERE PEERS_CACHE REDIS_URL ADMIN_URL="$server/postgres" DATABASE_URL="$server/bench?sslmode=disable"
python3 "$PEERS_HERE/bench.py" "${peers[@]}"
