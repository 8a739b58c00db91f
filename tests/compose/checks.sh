#!/usr/bin/env bash
# What must hold of compose.yaml and of what runs of it: sourced by run.sh, whose variables it uses.
# shellcheck disable=SC2154

# Those that are ours, and Envoy.
SCALED=(envoy gateway hash queue cache worker)
ALL=("${SCALED[@]}" postgres pgbouncer redis otel-collector prometheus grafana)

# running SERVICE: how many of it run.
running() { compose ps --status running --quiet "$1" | wc -l; }
# expect GATEWAYS WORKERS: that so many run.
expect() {
    local found
    found="$(running gateway) gateways, $(running worker) workers"
    [ "$found" = "$1 gateways, $2 workers" ] || fail "$found run, not $1 and $2"
}
name() { docker inspect --format '{{slice .Name 1}}' "$1"; }
# one SERVICE: a container of it.
one() { compose ps --quiet "$1" | head -n 1; }
# busiest SERVICE: the container of it that uses most CPU.
busiest() {
    compose ps --quiet "$1" | xargs docker stats --no-stream --format '{{.CPUPerc}} {{.ID}}' | sort -rn | head -n 1 | cut -d ' ' -f 2
}
# address SERVICE NETWORK: of a container of it.
address() {
    docker inspect --format "{{(index .NetworkSettings.Networks \"${COMPOSE_PROJECT_NAME}_$2\").IPAddress}}" "$(one "$1")"
}
# crash CONTAINER: its process dies, and nobody has asked the engine for it; it is for the restart policy.
crash() {
    if [ "$own_engine" = no ]; then
        docker kill "$1" >/dev/null && docker start "$1" >/dev/null
    else
        kill -KILL "$(docker inspect --format '{{.State.Pid}}' "$1")"
    fi
}

check_configuration() {
    local configuration service
    configuration=$(compose config --format json)
    for service in "${ALL[@]}"; do
        jq -e --arg name "$service" '.services[$name].image' <<<"$configuration" >/dev/null || fail "there is no service $service"
    done
    for service in "${SCALED[@]}"; do
        jq -e --arg name "$service" '.services[$name] | .healthcheck.test and (has("container_name") | not)' \
            <<<"$configuration" >/dev/null || fail "$service has no healthcheck, or a container_name"
    done
    [ "$(jq -c '[.services | to_entries[] | select(.value.ports) | .key] | sort' <<<"$configuration")" = '["envoy","grafana"]' ] ||
        fail "others than Envoy and Grafana publish ports"
}

# check_metrics GATEWAYS WORKERS: that Prometheus reads every process, once it has asked for their addresses and then for their numbers.
check_metrics() {
    local wanted="cache 1, envoy 1, gateway $1, hash 1, otel-collector 1, prometheus 1, queue 1, worker $2" found='' tries
    for tries in $(seq 90); do
        found=$(compose exec -T prometheus wget -q -O - 'http://127.0.0.1:9090/api/v1/query?query=count+by(job)(up==1)' |
            jq -r '[.data.result[] | "\(.metric.job) \(.value[1])"] | sort | join(", ")') || true
        if [ "$found" = "$wanted" ]; then return; fi
        sleep 1
    done
    fail "after $tries s Prometheus reads $found, and not $wanted"
}

# Of each container: not root, a root file system that is not written, no capabilities, limits.
check_hygiene() {
    local found
    found=$(compose ps --quiet | xargs docker inspect | jq -r '.[] | select((
        .HostConfig.ReadonlyRootfs
        and .HostConfig.CapDrop == ["ALL"] and (.HostConfig.CapAdd // []) == []
        and (.HostConfig.SecurityOpt | index("no-new-privileges:true"))
        and (.Config.User | test("^[1-9][0-9]*:[1-9][0-9]*$"))
        and .HostConfig.Memory > 0 and .HostConfig.NanoCpus > 0 and .HostConfig.PidsLimit > 0
        and .HostConfig.RestartPolicy.Name == "unless-stopped"
        and .HostConfig.LogConfig.Config["max-size"]) | not) | .Name')
    [ -z "$found" ] || fail "not restricted: $found"
}

# Each service sees its own secrets; no password is in what the engine or the compose file tells.
check_secrets() {
    local service mounted told password passwords
    for service in "${ALL[@]}"; do
        [ -n "$(one "$service")" ] || continue
        mounted=$(docker inspect "$(one "$service")" |
            jq -r '[.[0].Mounts[] | select(.Name and (.Name | test("_(secrets-|certs|passwords)"))) | .Name] | join(" ")')
        case $service in
            otel-collector | prometheus) [ -z "$mounted" ] ;;
            *) [ "$mounted" = "${COMPOSE_PROJECT_NAME}_secrets-$service" ] ;;
        esac || fail "$service sees $mounted"
    done
    told=$(compose config; compose ps --all --quiet | xargs docker inspect; compose logs --no-color)
    # shellcheck disable=SC2016
    mapfile -t passwords < <(in_volume passwords bash -c 'for file in /mounted/*; do cat "$file"; echo; done')
    [ "${#passwords[@]}" -ge 6 ] || fail "there are ${#passwords[@]} passwords"
    for password in "${passwords[@]}"; do
        [ "${#password}" -ge 43 ] || fail "a password has ${#password} characters"
        if grep -qF -- "$password" <<<"$told"; then fail "a password is told"; fi
    done
    # The service's user alone reads them.
    [ -z "$(in_volume secrets-queue find /mounted -type f ! \( -perm 0400 -user 65532 \))" ] || fail "others read the Queue's secrets"
}

# in_volume VOLUME COMMAND…: with the volume at /mounted.
in_volume() {
    local volume=$1
    shift
    docker run --rm --network none --volume "${COMPOSE_PROJECT_NAME}_$volume:/mounted:ro" --entrypoint "$1" postgres:18-bookworm "${@:2}"
}

# connects FROM HOST PORT: whether a connection is made from `outside`, from the engine's `machine`, or from within a container of the service FROM.
connects() {
    local try=(timeout 3 bash -c ": < /dev/tcp/$2/$3")
    if [ "$1" = outside ] || [ "$1" = machine ]; then
        "$1" "${try[@]}"
    elif [ "$own_engine" = no ]; then
        docker run --rm --network "container:$(one "$1")" --entrypoint timeout postgres:18-bookworm "${try[@]:1}"
    else
        nsenter "--net=/proc/$(docker inspect --format '{{.State.Pid}}' "$(one "$1")")/ns/net" "${try[@]}"
    fi >/dev/null 2>&1
}

# may FROM HOST PORT, may_not FROM HOST PORT: tried beside each other, for what is dropped takes its time; `tried` waits for all.
may() { connects "$@" || echo "$1 does not reach $2:$3" >> "$run/ways" & }
may_not() { ! connects "$@" || echo "$1 reaches $2:$3" >> "$run/ways" & }
tried() {
    # Not for what runs on.
    local job
    for job in $(jobs -p); do
        case $job in "$engine_pid" | "$outside_pid") ;; *) wait "$job" || true ;; esac
    done
    [ ! -s "$run/ways" ] || fail "$(cat "$run/ways")"
}

check_isolation() {
    local postgres pgbouncer redis gateway envoy worker
    postgres=$(address postgres backend) pgbouncer=$(address pgbouncer backend) redis=$(address redis backend)
    gateway=$(address gateway frontend) envoy=$(address envoy frontend) worker=$(address worker worker)

    # Each is a way that is there, so that the others are not tried in vain.
    may outside "$ENGINE_ADDRESS" "${HASHMESH_PUBLISH:-8443}"
    may envoy "$gateway" 7420
    may envoy "$(address cache frontend)" 7460
    may gateway "$(address queue backend)" 7430
    may gateway "$(address hash backend)" 7440
    may queue "$postgres" 5432
    may queue "$pgbouncer" 6432
    may cache "$redis" 6379
    may worker "$(address queue worker)" 7430
    may worker "$(address cache worker)" 7460
    tried

    # By address: names of other networks are not even known.
    may_not worker "$envoy" 8443
    may_not worker "$envoy" 9901
    may_not worker "$gateway" 7420
    may_not worker "$(address gateway backend)" 7420
    may_not worker "$(address hash backend)" 7440
    may_not worker "$postgres" 5432
    may_not worker "$pgbouncer" 6432
    may_not worker "$redis" 6379
    may_not envoy "$postgres" 5432
    may_not envoy "$redis" 6379
    may_not envoy "$(address queue backend)" 7430
    may_not envoy "$(address hash backend)" 7440
    may_not envoy "$worker" 7450
    may_not gateway "$worker" 7450
    # Outside is a machine that sends whatever is for the networks' addresses to the engine's machine.
    may_not outside "$ENGINE_ADDRESS" 5432
    may_not outside "$ENGINE_ADDRESS" 7420
    may_not outside "$ENGINE_ADDRESS" 9901
    if [ "$own_engine" != no ]; then
        may_not outside "$postgres" 5432
        may_not outside "$pgbouncer" 6432
        may_not outside "$redis" 6379
        may_not outside "$(address queue backend)" 7430
        may_not outside "$(address queue worker)" 7430
        may_not outside "$worker" 7450
        may_not outside "$gateway" 7420
        # And the other way: what is behind the Gateways has no way out.
        may machine "$OUTSIDE_ADDRESS" 8000
        may_not worker "$OUTSIDE_ADDRESS" 8000
        may_not queue "$OUTSIDE_ADDRESS" 8000
        may_not cache "$OUTSIDE_ADDRESS" 8000
        may_not gateway "$OUTSIDE_ADDRESS" 8000
        may_not postgres "$OUTSIDE_ADDRESS" 8000
    fi
    tried
    check_stranger "$postgres"
}

# A container of somebody else on the same engine.
check_stranger() {
    local network=$COMPOSE_PROJECT_NAME-stranger reached=no
    docker network create "$network" >/dev/null
    docker run --rm --network "$network" --entrypoint timeout postgres:18-bookworm 3 bash -c ": < /dev/tcp/$1/5432" \
        >/dev/null 2>&1 && reached=yes
    docker network rm "$network" >/dev/null
    [ "$reached" = no ] || fail "a stranger reaches Postgres"
}
