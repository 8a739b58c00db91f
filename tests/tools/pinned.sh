#!/usr/bin/env bash
# Throughput while somebody else's transaction pins xmin, so that nothing dead can be cleaned up: `pinned.sh HASHMESH SECONDS ROUNDS`.
# A round is two blocks, each on a new database that is dropped behind it: for SECONDS runs of PINNED_TASKS (5 million) 64 B
# tasks follow each other, in one block beside a psql session whose REPEATABLE READ transaction is open from the block's beginning to
# its end. Which block is first changes from round to round. Prints a JSON object; fails if the median of the rounds' ratios is
# below PINNED_MINIMUM (0.95).
set -euo pipefail

hashmesh=$1 seconds=$2 rounds=$3
tasks=${PINNED_TASKS:-5000000} minimum=${PINNED_MINIMUM:-0.95}
# shellcheck source=tests/tools/mesh.sh
. "$(dirname "$0")/mesh.sh"

start_database "$hashmesh"
server=${MESH_DATABASE%/*}

# What the session's snapshot pins.
pinned_xmin() {
    psql --quiet --tuples-only --no-align "$server/block" \
        --command "SELECT backend_xmin FROM pg_stat_activity WHERE application_name = 'pin' AND datname = 'block'"
}

# One block's rate: `block WHICH`, plain or pinned.
block() {
    local which=$1 rows=target/run/$1.jsonl end before=
    psql --quiet "$server/hashmesh" --command 'CREATE DATABASE block'
    start_roles_on "$hashmesh" "$server/block?sslmode=disable"
    if [ "$which" = pinned ]; then
        exec {pin}> >(PGAPPNAME=pin exec psql --quiet --output /dev/null "$server/block")
        echo 'SET idle_in_transaction_session_timeout = 0; BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT txid_current();' >&"$pin"
        until [ -n "$(pinned_xmin)" ]; do sleep 0.1; done
        before=$(pinned_xmin)
    fi
    # Connections, plans and the first blocks of every table are there before anything is measured.
    bench_batches "$hashmesh" $((tasks / 5)) >/dev/null
    : >"$rows"
    end=$((SECONDS + seconds))
    while [ "$SECONDS" -lt "$end" ]; do bench_batches "$hashmesh" "$tasks" >>"$rows"; done
    if [ "$which" = pinned ]; then
        [ "$(pinned_xmin)" = "$before" ] || { echo "FAIL pinned: xmin was not pinned for the whole block" >&2; return 1; }
        exec {pin}>&-
    fi
    stop_roles
    psql --quiet "$server/hashmesh" --command 'DROP DATABASE block WITH (FORCE)'
    RATE=$(jq --slurp '(map(.tasks) | add) / (map(.seconds) | add) | round' "$rows")
    echo "$which: $RATE tasks/s" >&2
}

plain=() pinned=()
for ((round = 0; round < rounds; round++)); do
    order=(plain pinned)
    [ $((round % 2)) -eq 0 ] || order=(pinned plain)
    for which in "${order[@]}"; do
        block "$which"
        if [ "$which" = plain ]; then plain+=("$RATE"); else pinned+=("$RATE"); fi
    done
done
stop_mesh

jq --null-input --arg plain "${plain[*]}" --arg pinned "${pinned[*]}" --argjson seconds "$seconds" '
    def numbers: split(" ") | map(tonumber);
    def median: sort | (.[(length - 1) / 2 | floor] + .[length / 2 | floor]) / 2;
    {seconds_each: $seconds, plain: ($plain | numbers), pinned: ($pinned | numbers)}
    | . + {ratio: ([.pinned, .plain] | transpose | map(.[0] / .[1]) | median * 1000 | round / 1000)}' | tee target/run/pinned.json
jq --exit-status --argjson minimum "$minimum" '.ratio >= $minimum' target/run/pinned.json >/dev/null || {
    echo "FAIL pinned: below $minimum of the throughput without"
    exit 1
}
echo "PASS pinned"
