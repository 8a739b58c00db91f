#!/usr/bin/env bash
# Does the cost of a task grow with what is stored? `linear.sh HASHMESH SIZE…`. For each SIZE the tables are filled up to that
# many tasks with outcomes, and LINEAR_TASKS (4 million) more are measured, three times: 64 B, batches of 1,000, as in the first
# mode of bench.sh. Prints a JSON object per size with the median; fails if the slowest median is more than LINEAR_SPREAD (15)
# percent below the fastest. Autovacuum works as it does everywhere.
set -euo pipefail

hashmesh=$1
shift
measured=${LINEAR_TASKS:-4000000} spread=${LINEAR_SPREAD:-15}
# shellcheck source=tests/tools/mesh.sh
. "$(dirname "$0")/mesh.sh"

start_roles "$hashmesh"
stored=0
rows=target/run/linear.jsonl
: >"$rows"
for size in "$@"; do
    if [ "$stored" -lt "$size" ]; then
        bench_batches "$hashmesh" $((size - stored)) >/dev/null
        stored=$size
    fi
    rates=()
    for _ in 1 2 3; do
        # What the fill has left to be written is not the measured tasks' to pay.
        psql --quiet "$MESH_DATABASE" --command CHECKPOINT
        rates+=("$(bench_batches "$hashmesh" "$measured" | jq .durable_tasks_per_second)")
        stored=$((stored + measured))
    done
    jq --null-input --compact-output --argjson stored "$size" --argjson to "$stored" \
        '{$stored, $to, tasks_per_second: ($ARGS.positional | map(tonumber) | sort | .[length / 2 | floor]), rates: $ARGS.positional | map(tonumber)}' \
        --args "${rates[@]}" >>"$rows"
    tail -n 1 "$rows"
done
stop_mesh
jq --slurp --exit-status --argjson spread "$spread" \
    '[.[].tasks_per_second] | min >= max * (100 - $spread) / 100' "$rows" >/dev/null || {
    echo "FAIL linear: the slowest is more than $spread % below the fastest"
    exit 1
}
echo "PASS linear"
