#!/usr/bin/env bash
# A Cache service with little memory before a Redis of its own, and `cache` (tests/bench/cache.rs), which asks it and lets that Redis
# fail: `cache.sh HASHMESH SECONDS`.
set -euo pipefail

hashmesh=$1 seconds=$2
# shellcheck source=tests/tools/mesh.sh
. "$(dirname "$0")/mesh.sh"

start_database "$hashmesh"
port=$(free_port)
redis-server --bind 127.0.0.1 --port "$port" --save '' --appendonly no --logfile /dev/null &
redis=$!
until redis-cli -p "$port" ping >/dev/null 2>&1; do sleep 0.1; done
start_role "$hashmesh" cache --database-url "$MESH_DATABASE?sslmode=disable" --redis-url "redis://127.0.0.1:$port" \
    --cache-memory-mib 4 --cache-warm 0
status=0
"$(dirname "$hashmesh")/examples/cache" "$ROLE_URL" "redis://127.0.0.1:$port" "$redis" "$seconds" || status=$?
kill -KILL "$redis" 2>/dev/null || true
stop_mesh
exit "$status"
