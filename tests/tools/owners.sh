#!/usr/bin/env bash
# What several owners cost: `owners.sh HASHMESH TASKS ROUNDS`. In each round runs of TASKS 64 B tasks, twelve submissions at once, on one,
# two and three Queue processes that share the shards, beside one Gateway and one Worker, in an order that changes from round to round.
# Prints a JSON object with tasks per second and the medians of the rounds' ratios to one owner. Fails if one of them is below
# OWNERS_MINIMUM (0.9).
set -euo pipefail

hashmesh=$1 tasks=$2 rounds=$3
minimum=${OWNERS_MINIMUM:-0.9}
# shellcheck source=tests/tools/mesh.sh
. "$(dirname "$0")/mesh.sh"

bench() { "$hashmesh" bench --tasks "$1" --size 64 --batch 1000 --streams 12 --output jsonl; }

declare -A rates
start_database "$hashmesh"
for ((round = 0; round < rounds; round++)); do
    for ((turn = 0; turn < 3; turn++)); do
        owners=$(((round + turn) % 3 + 1))
        QUEUES=$owners start_roles_on "$hashmesh" "$MESH_DATABASE?sslmode=disable"
        # Everything has been used once.
        bench $((tasks / 10)) >/dev/null
        rate=$(bench "$tasks" | jq .durable_tasks_per_second)
        rates[$owners]+="$rate "
        echo "$owners: $rate tasks/s" >&2
        stop_roles
    done
done
stop_mesh

status=0
jq --null-input --arg one "${rates[1]}" --arg two "${rates[2]}" --arg three "${rates[3]}" --argjson minimum "$minimum" '
    def numbers: split(" ") | map(select(. != "") | tonumber);
    def median: sort | .[length / 2 | floor];
    def ratio($some; $one): [$some | numbers, ($one | numbers)] | transpose | map(.[0] / .[1]) | median;
    {one: ($one | numbers), two: ($two | numbers), three: ($three | numbers),
     two_to_one: ratio($two; $one), three_to_one: ratio($three; $one)}
    | . + {ok: (.two_to_one >= $minimum and .three_to_one >= $minimum)}' >target/run/owners.json || status=$?
cat target/run/owners.json
jq --exit-status .ok target/run/owners.json >/dev/null || { echo "FAIL owners: see ok" >&2; status=1; }
exit "$status"
