#!/usr/bin/env bash
# A mesh under load: `load.sh HASHMESH PROFILE…`. Queue, Hash, Worker and three Gateways as processes of their own, Envoy in front of
# them as it is configured for development, and `load` (tests/bench/load), which offers the load and judges. PROFILE: `all`, or those
# of `load`, and `cap`: what Envoy does with connections above its most. Every setting of the environment that it reads begins with LOAD_.
#
# What differs from envoy/envoy.dev.yaml: addresses, access logs and traces (as in production: 1 % of the calls begin one), and for
# `connections` how many Envoy takes. A process has as many connections as file descriptors: where `ulimit -n` cannot be raised,
# there are as many Envoys as need be.
set -euo pipefail

hashmesh=$1
shift
[ "${1:-all}" != all ] || set -- smoke load stress soak spike streams cap connections
# shellcheck source=tests/tools/mesh.sh
. "$(dirname "$0")/mesh.sh"
PATH=${XDG_CACHE_HOME:-$HOME/.cache}/hashmesh/tools/bin:$PATH
command -v envoy >/dev/null || { echo "envoy is missing: make setup" >&2; exit 1; }
# First for good, then as far as it goes.
ulimit -n 1048576 2>/dev/null || ulimit -n "$(ulimit -H -n)"
files=$(ulimit -n)
streams=${LOAD_STREAMS:-50000} connections=${LOAD_CONNECTIONS:-60000}
load=$(dirname "$hashmesh")/examples/load
top=$PWD work=$PWD/target/run/load
envoys=()

# An Envoy that takes so many connections: `start_envoy MOST [THREADS]`; at ENVOY_ADDRESS.
start_envoy() {
    local name=envoy-$((${#envoys[@]} + 1)) port deadline=$((SECONDS + 30)) directory
    port=$(free_port) directory=$work/$name
    mkdir -p "$directory/envoy/lb"
    cp envoy/hashmesh.binpb envoy/openapi.yaml "$directory/envoy/"
    cp envoy/lb/gateway.dev.yaml "$directory/envoy/lb/"
    cp "$work/endpoints.dev.yaml" "$directory/envoy/lb/"
    sed -e "s|/tmp/hashmesh-envoy.sock|$directory/admin.sock|" \
        -e "s|port_value: 7480|port_value: $port|" \
        -e "s|max_active_downstream_connections: .*|max_active_downstream_connections: $1|" \
        -e 's|random_sampling: {value: 100}|random_sampling: {value: 1}|' \
        -e "s|port_value: 7460|port_value: ${cache:-7460}|" \
        envoy/envoy.dev.yaml >"$directory/envoy/envoy.dev.yaml"
    (cd "$directory" && exec envoy --config-path envoy/envoy.dev.yaml --disable-hot-restart --log-level warning \
        --concurrency "${2:-${LOAD_ENVOY_THREADS:-2}}" >/dev/null 2>"$directory/log") &
    envoys+=("$!")
    ENVOY_ADDRESS=127.0.0.1:$port
    until curl --silent --fail --output /dev/null "http://$ENVOY_ADDRESS/healthz"; do
        if [ "$SECONDS" -ge "$deadline" ] || ! kill -0 "${envoys[-1]}" 2>/dev/null; then
            echo "Envoy is not ready:" >&2
            tail -n 20 "$directory/log" >&2
            return 1
        fi
        sleep 0.2
    done
}

stop_envoys() {
    local envoy
    for envoy in "${envoys[@]}"; do
        kill -TERM "$envoy" 2>/dev/null || true
        wait "$envoy" 2>/dev/null || true
    done
    envoys=()
}

# NAME=PID of all that take part, for `load`.
processes() {
    local index list=
    for index in "${!envoys[@]}"; do list+=",envoy-$((index + 1))=${envoys[index]}"; done
    for index in "${!ROLES[@]}"; do list+=",${ROLE_NAMES[index]}=${ROLES[index]}"; done
    echo "${list#,}"
}

# One profile: `run PROFILE ADDRESSES [NAME=VALUE…]`. Who offers the load must never wait for a CPU behind those who bear it.
run() {
    echo "== $1 ($(date +%H:%M:%S), load average $(cut -d ' ' -f 1 /proc/loadavg))"
    "${polite[@]}" "$load" "$1" "$2" "$(processes)" "${@:3}" | tee -a target/run/load.txt || { failed=1; echo "FAIL $1"; }
}

# NAME=VALUE if the environment says so: `option NAME VARIABLE`.
option() { [ -z "${!2:-}" ] || echo "$1=${!2}"; }

rm -rf "$work"
mkdir -p "$work"
: >target/run/load.txt
polite=()
nice -n -10 true 2>/dev/null && polite=(nice -n -10)
failed=0

start_database "$hashmesh"
trap 'stop_envoys; abandon_mesh' EXIT
ROLES=() ROLE_NAMES=()
start_role "$hashmesh" queue --database-url "$MESH_DATABASE?sslmode=disable"
QUEUE_URL=$ROLE_URL
start_role "$hashmesh" hash
hash=$ROLE_URL
start_role "$hashmesh" worker --queue "$QUEUE_URL"
cache=
if [ "${LOAD_CACHE:-0}" = 1 ]; then
    start_role "$hashmesh" cache --database-url "$MESH_DATABASE?sslmode=disable"
    cache=${ROLE_URL##*:}
fi
gateways=()
for number in 1 2 3; do
    start_role "$hashmesh" gateway --queue "$QUEUE_URL" --hash "$hash" --trusted-proxy 127.0.0.1
    ROLE_NAMES[-1]=gateway-$number
    gateways+=("{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: ${ROLE_URL##*:}}}}}")
done
{
    echo 'resources:'
    echo '  - "@type": type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment'
    echo '    cluster_name: gateway'
    echo "    endpoints: [{lb_endpoints: [$(IFS=,; echo "${gateways[*]}")]}]"
} >"$work/endpoints.dev.yaml"

# What is one word is one option, and what is not said is none.
mapfile -t asked < <(option call LOAD_CALL; option callers LOAD_CALLERS)
for profile in "$@"; do
    case $profile in
    smoke) mapfile -t said < <(option seconds LOAD_SMOKE_SECONDS) ;;
    load) mapfile -t said < <(option rate LOAD_RATE; option seconds LOAD_SECONDS) ;;
    stress) mapfile -t said < <(option seconds LOAD_STRESS_SECONDS; option rate LOAD_STRESS_RATE) ;;
    soak) mapfile -t said < <(option rate LOAD_SOAK_RATE; option seconds LOAD_SOAK_SECONDS) ;;
    spike) mapfile -t said < <(option rate LOAD_SPIKE_RATE; option seconds LOAD_SPIKE_SECONDS) ;;
    streams) said=("streams=$streams" "connections=${LOAD_STREAM_CONNECTIONS:-500}") ;;
    esac
    case $profile in
    connections)
        # A thousand for its Gateways, its own files and what is on its way.
        most=$((files - 1000)) addresses=
        for ((started = 0; started < connections; started += most)); do
            start_envoy "$most" 1
            addresses+=,$ENVOY_ADDRESS
        done
        echo "${#envoys[@]} Envoys, for each process may open $files files"
        run connections "${addresses#,}" "connections=$connections"
        ;;
    cap)
        start_envoy 1000 1
        run connections "$ENVOY_ADDRESS" connections=1200 taken=1000
        ;;
    *)
        start_envoy 60000
        run "$profile" "$ENVOY_ADDRESS" "${asked[@]}" "${said[@]}"
        ;;
    esac
    stop_envoys
    cd "$top"
done
stop_mesh
rm -rf "$work"
[ "$failed" -eq 0 ] || { echo "FAIL load"; exit 1; }
echo "PASS load"
