#!/usr/bin/env bash
# Throughput while somebody else's transaction pins xmin, so that nothing dead can be cleaned up: `pinned.sh HASHMESH SECONDS`.
# Runs of PINNED_TASKS (5 million) 64 B tasks follow each other for SECONDS without, and then for SECONDS with a psql session
# that has a REPEATABLE READ transaction open from the first to the last. Prints a JSON object; fails if the second rate is
# below PINNED_MINIMUM (0.95) of the first.
set -euo pipefail

hashmesh=$1 seconds=$2
tasks=${PINNED_TASKS:-5000000} minimum=${PINNED_MINIMUM:-0.95}
# shellcheck source=tests/tools/mesh.sh
. "$(dirname "$0")/mesh.sh"

start_roles "$hashmesh"
# Runs for that long; their rows go to the file: `run_for FILE`.
run_for() {
    local end=$((SECONDS + seconds))
    : >"$1"
    while [ "$SECONDS" -lt "$end" ]; do
        bench_batches "$hashmesh" "$tasks" >>"$1"
    done
}
# What the session's snapshot pins.
pinned_xmin() {
    psql --quiet --tuples-only --no-align "$MESH_DATABASE" \
        --command "SELECT backend_xmin FROM pg_stat_activity WHERE application_name = 'pin'"
}

# Connections, plans and the first blocks of every table are there before either side is measured.
bench_batches "$hashmesh" "$tasks" >/dev/null
run_for target/run/unpinned.jsonl
exec {pin}> >(PGAPPNAME=pin exec psql --quiet --output /dev/null "$MESH_DATABASE")
echo 'SET idle_in_transaction_session_timeout = 0; BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT txid_current();' >&"$pin"
until [ -n "$(pinned_xmin)" ]; do sleep 0.1; done
before=$(pinned_xmin)
run_for target/run/pinned.jsonl
after=$(pinned_xmin)
exec {pin}>&-
stop_mesh
[ "$before" = "$after" ] || { echo "FAIL pinned: xmin was not pinned for the whole run ($before, then $after)"; exit 1; }

summary='{tasks: map(.tasks) | add, seconds: map(.seconds) | add} | . + {tasks_per_second: (.tasks / .seconds | round)}'
jq --null-input --slurpfile unpinned target/run/unpinned.jsonl --slurpfile pinned target/run/pinned.jsonl \
    "{unpinned: (\$unpinned | $summary), pinned: (\$pinned | $summary),
      rates: (\$pinned | map(.durable_tasks_per_second))} | . + {ratio: (.pinned.tasks_per_second / .unpinned.tasks_per_second * 1000 | round / 1000)}" |
    tee target/run/pinned.json
jq --exit-status --argjson minimum "$minimum" '.ratio >= $minimum' target/run/pinned.json >/dev/null || {
    echo "FAIL pinned: below $minimum of the throughput without"
    exit 1
}
echo "PASS pinned"
