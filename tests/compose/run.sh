#!/usr/bin/env bash
# The real compose.yaml, scaled to GATEWAYS and WORKERS: `run.sh HASHMESH TASKS`.
#
# Submits TASKS files through Envoy from another machine, kills three containers in the middle, has sha256sum check every result,
# tries connections that must not be possible, and takes everything down. Without DOCKER_HOST it starts an engine of its own (root;
# engine.sh) with images made here (images.sh), Grafana left out; with it, images come from their registries, and containers.
set -euo pipefail

hashmesh=$(readlink -f "$1") tasks=$2
here=$(cd "$(dirname "$0")" && pwd)
repository=$(cd "$here/../.." && pwd)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/hashmesh/compose
gateways=${GATEWAYS:-10} workers=${WORKERS:-50} pace=${PACE:-20}
run=$(mktemp -d)
# shellcheck source=tests/compose/engine.sh
. "$here/engine.sh"
# shellcheck source=tests/compose/images.sh
. "$here/images.sh"
# shellcheck source=tests/compose/checks.sh
. "$here/checks.sh"

export COMPOSE_PROJECT_NAME=hashmesh-test COMPOSE_ANSI=never COMPOSE_PROGRESS=quiet
export DOCKER_CONFIG=${DOCKER_CONFIG:-$run/docker}
# Sixty processes and more on few cores.
export HASHMESH_IMAGE=hashmesh:compose-test HASHMESH_HEALTH_INTERVAL=20s
limit=$(ulimit -Hn)
if [ "$limit" != unlimited ] && [ "$limit" -lt 131072 ]; then export HASHMESH_NOFILE=$limit ENVOY_NOFILE=$limit; fi
export ENVOY_MEMORY=512m GATEWAY_CPUS=0.5 GATEWAY_MEMORY=128m WORKER_CPUS=0.2 WORKER_MEMORY=64m

compose() { docker compose --project-directory "$repository" --file "$repository/compose.yaml" "$@"; }
say() { printf '%6.1f s  %s\n' "$(bc <<<"$(date +%s.%N) - $began")" "$*"; }
fail() { echo "FAIL: $*" >&2; exit 1; }

began=$(date +%s.%N)
finish() {
    local status=$?
    trap - EXIT INT TERM
    if [ "$status" -ne 0 ] && [ -n "${DOCKER_HOST:-}" ]; then
        compose ps --all --format '{{.Name}} {{.Status}}' 2>/dev/null | grep -v '(healthy)' | head -40 >&2 || true
        compose logs --no-color --tail 15 2>/dev/null | grep -v '"grpc_status"' | tail -n "${LOG_LINES:-60}" >&2 || true
    fi
    [ -z "${submission:-}" ] || kill "$submission" 2>/dev/null || true
    [ -z "${DOCKER_HOST:-}" ] || compose down --volumes --remove-orphans --timeout 20 2>/dev/null || true
    [ "$status" -ne 0 ] || say "all is down"
    engine_stop
    [ "$status" -ne 0 ] || say "the engine is stopped"
    cd /
    umount "$run/files" 2>/dev/null || true
    rm -rf "$run"
    if [ "$status" -eq 0 ]; then echo "PASS compose"; else echo "FAIL compose" >&2; fi
    exit "$status"
}
trap finish EXIT
trap 'exit 1' INT TERM

mkdir -p "$cache/bin"
exec 9> "$cache/lock"
flock --nonblock 9 || fail "another compose-test runs"

own_engine=${DOCKER_HOST:+no}
engine_start "$cache" "$run"
compose_plugin "$cache"
scales=(--scale "gateway=$gateways" --scale "worker=$workers")
if [ -z "$own_engine" ]; then
    images "$cache" "$hashmesh"
else
    compose build --quiet certs
fi
mapfile -t services < <(compose config --services)
if [ -z "$own_engine" ]; then
    # No image of it can be made here.
    mapfile -t services < <(printf '%s\n' "${services[@]}" | grep -v grafana)
fi
export HASHMESH_HOSTS=localhost,$ENGINE_ADDRESS
say "images are there"

check_configuration
compose down --volumes --remove-orphans --timeout 1 2>/dev/null || true
compose up --detach --wait --wait-timeout 300 --quiet-pull "${scales[@]}" "${services[@]}"
say "up and healthy: $(compose ps --quiet | wc -l) containers, $(running gateway) gateways, $(running worker) workers"
expect "$gateways" "$workers"

compose exec -T envoy cat /run/secrets/ca.pem > "$run/ca.pem"
(umask 077; compose exec -T queue hashmesh admin first-key > "$run/admin.key")
export HASHMESH_SERVER=https://$ENGINE_ADDRESS:${HASHMESH_PUBLISH:-8443} HASHMESH_TLS_CA=$run/ca.pem HASHMESH_API_KEY=@$run/admin.key
outside "$hashmesh" list >/dev/null
say "a key; Envoy answers"

check_metrics "$gateways" "$workers"
say "Prometheus reads all of them"

check_hygiene
check_secrets
check_isolation
say "networks isolate, secrets are apart, containers are restricted"

mkdir "$run/files"
# In memory, if we may: a disk takes minutes to forget so many.
if [ "$(id -u)" -eq 0 ]; then mount -t tmpfs -o size=2g,nr_inodes=0 tmpfs "$run/files"; fi
(cd "$run/files" && seq -f '%.0f of these' "$tasks" | split --lines 1 --suffix-length 6 --numeric-suffixes - input-)
(cd "$run" && printf '%s\n' files/* > names)
say "$tasks files"

# lines: how many outcomes there are by now.
lines() { wc -l < "$run/manifest.sha256"; }
# reach N: until there are so many.
reach() {
    until [ "$(lines)" -ge "$1" ]; do
        kill -0 "$submission" 2>/dev/null || fail "it ended with $(lines) outcomes, before all was killed"
        sleep 0.05
    done
}
# Names of files, no faster than in PACE seconds: what takes three would be over before anything is killed.
names() {
    local part
    for part in $(seq 0 199); do
        sed -n "$((tasks * part / 200 + 1)),$((tasks * (part + 1) / 200))p" names
        sleep "$(bc -l <<<"$pace / 200")"
    done
}

cd "$run"
: > manifest.sha256
started=$(date +%s.%N)
names | outside "$hashmesh" submit --files-from - --retry-for 300s > manifest.sha256 2> submit.log &
submission=$!
reach $((tasks / 10))
killed=$(busiest gateway)
docker kill "$killed" >/dev/null
say "killed $(name "$killed"), which was busiest, at $(lines) outcomes"
reach $((tasks / 5))
killed=$(busiest worker)
docker kill "$killed" >/dev/null
say "killed $(name "$killed") at $(lines) outcomes"
reach $((tasks * 2 / 5))
killed=$(compose ps --quiet queue | head -n 1)
crash "$killed"
say "killed the process of $(name "$killed") at $(lines) outcomes"
status=0
wait "$submission" || status=$?
[ "$status" -eq 0 ] || { cat submit.log >&2; fail "submit ended with $status"; }
submission=''
took=$(bc <<<"scale=1; ($(date +%s.%N) - $started) / 1")
tail -n 3 submit.log
[ "$(lines)" -eq "$tasks" ] || fail "the manifest has $(lines) lines"
sha256sum --check --strict --quiet manifest.sha256 || fail "sha256sum refuses the manifest"
[ "$(sort -u manifest.sha256 | wc -l)" -eq "$tasks" ] || fail "outcomes repeat"
say "$tasks outcomes in $took s, each accepted by sha256sum"
expect $((gateways - 1)) $((workers - 1))
[ "$(docker inspect --format '{{.RestartCount}}' "$killed")" -ge 1 ] || [ "$own_engine" = no ] || fail "the Queue was not restarted"

compose up --detach --wait --wait-timeout 300 --no-recreate "${scales[@]}" "${services[@]}"
say "whole again: $(running gateway) gateways, $(running worker) workers"
expect "$gateways" "$workers"
# That `up` has renewed all certificates; each process that runs has taken its own up.
[ "$(echo -n again | outside "$hashmesh" submit --lines - 2>/dev/null | cut -d ' ' -f 1)" = "$(echo -n again | sha256sum | cut -d ' ' -f 1)" ] ||
    fail "it does not work with new certificates"
