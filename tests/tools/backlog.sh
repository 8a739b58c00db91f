#!/usr/bin/env bash
# A backlog that no worker works on: `backlog.sh HASHMESH TASKS`. 64 B tasks at priority 0 are accepted with no worker running,
# the Queue is stopped and started with all of it, a worker comes, urgent tasks (priority 9) are submitted one after the other
# while it drains, and every outcome is counted by the client that has waited all along. Prints a JSON object:
#
#   accepted_per_second     in the first and in the last tenth of the backlog
#   queue_mib               the most memory that the Queue had resident
#   first_lease_seconds     from the start of the second Queue to its first lease, its start-up included
#   urgent_ms               from submitting an urgent task to its outcome in the client
#   drained                 what the first client saw at the end
set -euo pipefail

hashmesh=$1 tasks=$2
# shellcheck source=tests/tools/mesh.sh
. "$(dirname "$0")/mesh.sh"

start_database "$hashmesh"

queue_port=$(free_port) queue_admin=$(free_port)
start_queue() {
    "$hashmesh" queue --listen "127.0.0.1:$queue_port" --admin-listen "127.0.0.1:$queue_admin" \
        --database-url "$MESH_DATABASE?sslmode=disable" 2>>target/run/queue.log &
    queue=$!
}
ready() { until curl --silent --fail --output /dev/null "http://127.0.0.1:$queue_admin/readyz"; do sleep 0.02; done; }
of_queue() { "$hashmesh" stats --output json 2>/dev/null | jq "$1"; }
resident() { awk '/VmHWM/ { printf "%d", $2 / 1024 }' "/proc/$queue/status"; }
now() { date +%s.%N; }

: >target/run/queue.log
start_queue
ready
start_role "$hashmesh" hash
start_role "$hashmesh" gateway --queue "http://127.0.0.1:$queue_port" --hash "$ROLE_URL"
export HASHMESH_SERVER=$ROLE_URL

"$hashmesh" bench --tasks "$tasks" --priority 0 --output jsonl >target/run/backlog.json &
client=$!
: >target/run/backlog.rows
accepted=0
while [ "$accepted" -lt "$tasks" ]; do
    accepted=$(of_queue '.queue.accepted_tasks | tonumber')
    echo "$(now) $accepted" >>target/run/backlog.rows
    kill -0 "$client"
    sleep 0.2
done
before=$(resident)

kill -TERM "$queue"
wait "$queue"
started=$(now)
start_queue
"$hashmesh" worker --listen 127.0.0.1:0 --admin-listen 127.0.0.1:0 --queue "http://127.0.0.1:$queue_port" 2>target/run/worker.log &
ROLES+=("$!") ROLE_NAMES+=(worker)
until [ "$(of_queue '(.queue.leased_tasks // 0 | tonumber) + (.queue.recorded_tasks // 0 | tonumber)')" -gt 0 ] 2>/dev/null; do
    sleep 0.02
done
first_lease=$(awk -v from="$started" -v to="$(now)" 'BEGIN { print to - from }')
urgent=$("$hashmesh" bench --tasks 100 --latency --priority 9 --output jsonl | jq .submit_to_result_ms)
wait "$client"
after=$(resident)
ROLES+=("$queue") ROLE_NAMES+=(queue)
# The tenth is one of tasks, not of time.
rate() { awk -v from="$1" -v to="$2" '$2 >= from && !first { first = $1; count = $2 } $2 <= to { last = $1; end = $2 } END { printf "%d", (end - count) / (last - first) }' target/run/backlog.rows; }
jq --null-input --argjson first "$(rate 1 $((tasks / 10)))" --argjson last "$(rate $((tasks * 9 / 10)) "$tasks")" \
    --argjson before "$before" --argjson after "$after" --argjson lease "$first_lease" --argjson urgent "$urgent" \
    --slurpfile drained target/run/backlog.json \
    '{accepted_per_second: {$first, $last}, queue_mib: {$before, $after}, first_lease_seconds: $lease, urgent_ms: $urgent,
      drained: ($drained[0] | {tasks, seconds, checked})}'
stop_mesh
