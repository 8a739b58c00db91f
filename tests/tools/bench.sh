#!/usr/bin/env bash
# How fast, with Gateway, Queue, Worker, client and Postgres as separate processes and synchronous_commit on:
# `bench.sh HASHMESH TASKS MINIMUM [MODE…]`. TASKS are those of the modes of 64 B tasks; MINIMUM is the durable tasks per
# second that the first mode must reach. Every outcome is counted, and the digests of a sample are compared with sha256sum.
# The report is target/reports/bench.json.
#
#   batches   64 B, batches of 1,000       keep      the same, with every input stored
#   small     64 B, batches of 100         kib       1 KiB, batches of 1,000, stored
#   large     16 KiB, batches of 64, stored
#   latency   one task at a time           callers   64 callers with one task each
set -euo pipefail

hashmesh=$1 tasks=$2 minimum=$3
shift 3
modes=("$@")
[ "${#modes[@]}" -gt 0 ] || modes=(batches keep small kib large latency callers)
# shellcheck source=tests/tools/mesh.sh
. "$(dirname "$0")/mesh.sh"

declare -A options=(
    [batches]="--tasks $tasks --size 64 --batch 1000 --streams 4"
    [keep]="--tasks $tasks --size 64 --batch 1000 --streams 4 --keep-inputs"
    [small]="--tasks $tasks --size 64 --batch 100 --streams 4"
    [kib]="--tasks $((tasks / 8)) --size 1024 --batch 1000 --streams 4 --keep-inputs"
    [large]="--tasks $((tasks / 128)) --size 16384 --batch 64 --streams 4 --keep-inputs"
    [latency]="--tasks 5000 --size 64 --latency"
    [callers]="--tasks 200000 --size 64 --callers 64"
)

start_roles "$hashmesh"
rows=target/run/bench.jsonl
: >"$rows"
status=0
for mode in "${modes[@]}"; do
    before=$(cpu_seconds)
    read -ra arguments <<<"${options[$mode]}"
    row=$("$hashmesh" bench "${arguments[@]}" --output jsonl) || status=$?
    [ -n "$row" ] || break
    jq --compact-output --arg mode "$mode" --argjson before "$before" --argjson after "$(cpu_seconds)" \
        '{$mode} + . + {cpu_seconds: ($after | with_entries(.value = ((.value - $before[.key]) * 100 | round) / 100))}' \
        <<<"$row" >>"$rows"
    tail -n 1 "$rows"
done
stop_mesh
"$hashmesh" report bench --setting "tasks=$tasks" --setting "minimum=$minimum" <"$rows" || status=$?
found=$(jq --slurp '.[0].durable_tasks_per_second // 0' "$rows")
if awk -v found="$found" -v minimum="$minimum" 'BEGIN { exit !(found < minimum) }'; then
    echo "FAIL bench: ${modes[0]} made $found tasks/s, wanted at least $minimum"
    status=1
fi
exit "$status"
