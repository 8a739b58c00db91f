#!/usr/bin/env bash
# A container engine for a test, where none is given by DOCKER_HOST: sourced by run.sh. It lives in a network namespace of its own,
# with its bridges, its rules and its published ports, and goes with it; images stay in the cache for the next run.
#
# engine_start CACHE RUN: needs root, dockerd and iproute2. Sets DOCKER_HOST. A second namespace, `outside`, is another machine:
# it reaches the engine's machine at ENGINE_ADDRESS, which is its router to whatever is behind, and serves at OUTSIDE_ADDRESS:8000.

export ENGINE_ADDRESS=127.0.0.1 OUTSIDE_ADDRESS=''
engine_pid='' engine_name='' outside_pid=''

engine_start() {
    local cache=$1 run=$2
    if [ -n "${DOCKER_HOST:-}" ]; then
        return
    fi
    for needed in dockerd containerd ip iptables nsenter python3; do
        command -v "$needed" >/dev/null || { echo "$needed is missing, and DOCKER_HOST names no engine" >&2; return 1; }
    done
    [ "$(id -u)" -eq 0 ] || { echo "an engine of its own needs root; else name one by DOCKER_HOST" >&2; return 1; }

    engine_name=hashmesh-$$
    ip netns add "$engine_name"
    ip netns add "$engine_name-outside"
    # 192.0.2.0/24 is for examples: nobody's.
    ip -n "$engine_name" link add outside type veth peer name eth0 netns "$engine_name-outside"
    ip -n "$engine_name" addr add 192.0.2.1/24 dev outside
    ip -n "$engine_name-outside" addr add 192.0.2.2/24 dev eth0
    for link in lo outside; do ip -n "$engine_name" link set "$link" up; done
    for link in lo eth0; do ip -n "$engine_name-outside" link set "$link" up; done
    ip -n "$engine_name" route add default via 192.0.2.2
    ip -n "$engine_name-outside" route add default via 192.0.2.1
    ENGINE_ADDRESS=192.0.2.1 OUTSIDE_ADDRESS=192.0.2.2

    mkdir "$run/world"
    # Not by `outside` and `machine`: what is to be ended is the program, not a shell around it.
    nsenter "--net=/run/netns/$engine_name-outside" python3 -m http.server --directory "$run/world" \
        --bind "$OUTSIDE_ADDRESS" 8000 >/dev/null 2>&1 9>&- &
    outside_pid=$!

    export DOCKER_HOST=unix://$run/docker.sock
    nsenter "--net=/run/netns/$engine_name" dockerd --data-root "$cache/engine" --exec-root "$run/exec" --pidfile "$run/docker.pid" \
        --host "$DOCKER_HOST" --bridge none --storage-driver overlay2 --log-level warn --dns "$OUTSIDE_ADDRESS" > "$run/dockerd.log" 2>&1 9>&- &
    engine_pid=$!
    local tries
    for tries in $(seq 300); do
        docker version >/dev/null 2>&1 && return
        kill -0 "$engine_pid" 2>/dev/null || break
        sleep 0.2
    done
    echo "the engine did not start ($tries tries):" >&2
    tail -n 20 "$run/dockerd.log" >&2
    return 1
}

# machine COMMAND…: as the engine's machine does.
machine() { nsenter "--net=/run/netns/$engine_name" "$@"; }
# outside COMMAND…: as another machine would.
outside() {
    if [ -n "$engine_name" ]; then
        # Not `ip netns exec`, which hides the control groups.
        nsenter "--net=/run/netns/$engine_name-outside" "$@"
    else
        "$@"
    fi
}

engine_stop() {
    [ -n "$engine_name" ] || return 0
    if [ -n "$engine_pid" ]; then
        kill "$engine_pid" 2>/dev/null || true
        wait "$engine_pid" 2>/dev/null || true
    fi
    [ -z "$outside_pid" ] || kill "$outside_pid" 2>/dev/null || true
    ip netns delete "$engine_name" 2>/dev/null || true
    ip netns delete "$engine_name-outside" 2>/dev/null || true
    engine_pid='' engine_name='' outside_pid=''
}
