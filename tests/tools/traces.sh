#!/usr/bin/env bash
# What traces cost: `traces.sh HASHMESH TASKS ROUNDS`. In each round runs of TASKS 64 B tasks, on roles that tell no collector, and on such
# that have one take 1 % of the traces (TRACE_RATIO): once while it runs, once while it is stopped (SIGSTOP). What is compared follows
# each other, in an order that changes from round to round; the two with a collector run on the same processes. Metrics are on in all.
# Prints a JSON object with the medians of the rounds' ratios (running to none, stopped to running), of tasks per second and of the CPU
# time of roles and Postgres for a task: the first varies by 10 % from run to run, and has the collector's own work in it, which shares
# the machine. Also how long the roles took to stop while the collector was stopped. Fails if a task takes more than TRACES_MAXIMUM (1.03)
# times the CPU time, or if a role needed more than 2.5 s longer to stop.
set -euo pipefail

hashmesh=$1 tasks=$2 rounds=$3
maximum=${TRACES_MAXIMUM:-1.03}
export HASHMESH_TRACE_RATIO=${TRACE_RATIO:-0.01}
# shellcheck source=tests/tools/mesh.sh
. "$(dirname "$0")/mesh.sh"

port=$(free_port)
mkdir -p target/run
cat >target/run/otelcol.yaml <<YAML
receivers: {otlp: {protocols: {grpc: {endpoint: "127.0.0.1:$port"}}}}
exporters: {debug: {verbosity: basic}}
service:
  telemetry: {metrics: {level: none}}
  pipelines:
    traces: {receivers: [otlp], exporters: [debug]}
    metrics: {receivers: [otlp], exporters: [debug]}
YAML
otelcol --config target/run/otelcol.yaml >target/run/otelcol.log 2>&1 &
collector=$!

declare -A rates costs stops
# One run, whose rate goes into `rates`, and the CPU seconds of roles and Postgres for a million tasks into `costs`. Called by name, as the next one is.
# shellcheck disable=SC2317
run() {
    local mode=$1 rate before
    before=$(cpu_seconds | jq 'add')
    rate=$(bench_batches "$hashmesh" "$tasks" | jq .durable_tasks_per_second)
    rates[$mode]+="$rate "
    costs[$mode]+="$(cpu_seconds | jq --argjson before "$before" --argjson tasks "$tasks" '(add - $before) / $tasks * 1e6') "
    echo "$mode: $rate tasks/s" >&2
}

# shellcheck disable=SC2317
stopped() {
    kill -STOP "$collector"
    run stopped
    kill -CONT "$collector"
}

# Roles of their own for these runs, and how long they take to stop.
roles() {
    local mode=$1 began
    shift
    start_roles_on "$hashmesh" "$MESH_DATABASE?sslmode=disable"
    # Everything has been used once.
    bench_batches "$hashmesh" $((tasks / 10)) >/dev/null
    for one in "$@"; do $one; done
    [ "$mode" = none ] || kill -STOP "$collector"
    began=$EPOCHREALTIME
    stop_roles
    stops[$mode]+="$(awk -v began="$began" -v ended="$EPOCHREALTIME" 'BEGIN { print ended - began }') "
    [ "$mode" = none ] || kill -CONT "$collector"
}

none() {
    unset HASHMESH_OTLP_ENDPOINT
    roles none "run none"
}

told() {
    export HASHMESH_OTLP_ENDPOINT=http://127.0.0.1:$port
    roles told "$@"
}

start_database "$hashmesh"
for ((round = 0; round < rounds; round++)); do
    if ((round % 2)); then
        told stopped "run running"
        none
    else
        none
        told "run running" stopped
    fi
done
kill -TERM "$collector"
wait "$collector" || true
spans=$(grep -c '"spans":' target/run/otelcol.log || true)
stop_mesh

status=0
jq --null-input --arg none "${rates[none]}" --arg running "${rates[running]}" --arg stopped "${rates[stopped]}" \
    --arg cost_none "${costs[none]}" --arg cost_running "${costs[running]}" --arg cost_stopped "${costs[stopped]}" \
    --arg stop_none "${stops[none]}" --arg stop_told "${stops[told]}" --argjson maximum "$maximum" --argjson spans "$spans" '
    def numbers: split(" ") | map(select(. != "") | tonumber);
    def median: sort | .[length / 2 | floor];
    def ratio($one; $other): [$one | numbers, ($other | numbers)] | transpose | map(.[0] / .[1]) | median;
    {none: ($none | numbers), running: ($running | numbers), stopped: ($stopped | numbers),
     running_to_none: ratio($running; $none), stopped_to_running: ratio($stopped; $running),
     cpu_running_to_none: ratio($cost_running; $cost_none), cpu_stopped_to_running: ratio($cost_stopped; $cost_running),
     stop_seconds: ($stop_none | numbers | max), stop_seconds_collector_stopped: ($stop_told | numbers | max), batches_of_spans: $spans}
    | . + {ok: (.cpu_running_to_none <= $maximum and .cpu_stopped_to_running <= $maximum and .batches_of_spans > 0
                # Gateway, Worker, Hash and Queue, one after the other.
                and .stop_seconds_collector_stopped - .stop_seconds <= 4 * 2.5)}' >target/run/traces.json || status=$?
cat target/run/traces.json
jq --exit-status .ok target/run/traces.json >/dev/null || { echo "FAIL traces: see ok" >&2; status=1; }
exit "$status"
