#!/usr/bin/env bash
# How many durable tasks per second: `bench.sh HASHMESH TASKS MINIMUM`. 64 B tasks in batches of 1,000 through a whole
# mesh; below MINIMUM tasks/s it fails. The report is target/reports/bench.json.
set -euo pipefail

hashmesh=$1 tasks=$2 minimum=$3
size=64 batch=1000 streams=4
# shellcheck source=tests/tools/mesh.sh
. "$(dirname "$0")/mesh.sh"

start_mesh "$hashmesh"
rows=target/run/bench.jsonl
status=0
"$hashmesh" bench --tasks "$tasks" --size "$size" --batch "$batch" --streams "$streams" --output json >"$rows" ||
    status=$?
stop_mesh
"$hashmesh" report bench --minimum "durable_tasks_per_second=$minimum" \
    --setting "tasks=$tasks" --setting "size=$size" --setting "batch=$batch" --setting "streams=$streams" <"$rows"
exit "$status"
