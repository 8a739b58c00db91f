# shellcheck shell=bash
# A whole mesh for a script: `start_mesh HASHMESH [UP_OPTION…]` returns once it is ready and exports HASHMESH_SERVER; `stop_mesh`
# fails unless it stops cleanly. Its data is new and goes away with it; its log stays in target/run.
# `start_roles HASHMESH` starts Gateway, Queue, Worker and Hash as processes of their own, on a database of their own
# (MESH_DATABASE) in the Postgres of a mesh that idles beside them; `stop_mesh` stops them too. `start_roles_on HASHMESH
# DATABASE_URL` starts them on a database that is there, without a mesh, with QUEUES (1) Queues; `stop_roles` stops them. The
# first Queue is at QUEUE_URL.
# `cpu_seconds` prints what each has used so far.

ROLES=() ROLE_NAMES=()
# One address makes more calls than a client may.
export HASHMESH_LIMITS=off

start_mesh() {
    local hashmesh=$1 line
    shift
    mkdir -p target/run
    # Below /tmp, because Postgres, which refuses to run as root, must reach it.
    MESH_DATA=$(mktemp -d /tmp/hashmesh.XXXXXX)
    MESH_LOG=target/run/up.log
    exec {mesh_output}< <(exec "$hashmesh" up --data-dir "$MESH_DATA" --listen 127.0.0.1:0 "$@" 2>"$MESH_LOG")
    MESH_PID=$!
    trap abandon_mesh EXIT
    while IFS= read -r line <&"$mesh_output"; do
        case $line in
        gateway*) export HASHMESH_SERVER=${line##* } ;;
        ready) return ;;
        esac
    done
    echo "the mesh did not start:" >&2
    cat "$MESH_LOG" >&2
    return 1
}

# Starts a mesh that idles, and makes a database of its own in its Postgres: MESH_DATABASE.
start_database() {
    start_mesh "$1"
    # Its password is in the file beside the cluster.
    local port password server
    port=$(sed -n 's/.*"port": *\([0-9]*\).*/\1/p' "$MESH_DATA/postgres.json")
    password=$(sed -n 's/.*"password": *"\([^"]*\)".*/\1/p' "$MESH_DATA/postgres.json")
    server=postgresql://hashmesh:$password@127.0.0.1:$port
    psql --quiet "$server/hashmesh" --command 'CREATE DATABASE bench'
    MESH_DATABASE=$server/bench
}

start_roles() {
    local hashmesh=$1
    start_database "$hashmesh"
    start_roles_on "$hashmesh" "$MESH_DATABASE?sslmode=disable"
}

# The first mode of bench.sh with so many tasks: `bench_batches HASHMESH TASKS`.
bench_batches() {
    "$1" bench --tasks "$2" --size 64 --batch 1000 --streams 4 --output jsonl
}

start_roles_on() {
    local hashmesh=$1 hash one
    mkdir -p target/run
    ROLES=() ROLE_NAMES=()
    start_role "$hashmesh" queue --database-url "$2"
    QUEUE_URL=$ROLE_URL
    for ((one = 1; one < ${QUEUES:-1}; one++)); do
        # Ready once it has its part of the shards.
        start_role "$hashmesh" queue --database-url "$2"
    done
    start_role "$hashmesh" hash
    hash=$ROLE_URL
    start_role "$hashmesh" worker --queue "$QUEUE_URL"
    start_role "$hashmesh" gateway --queue "$QUEUE_URL" --hash "$hash"
    export HASHMESH_SERVER=$ROLE_URL
}

# Starts a role at ROLE_PORT, else at a free port, and waits until it is ready: `start_role HASHMESH ROLE OPTION…`. Sets ROLE_URL.
start_role() {
    local hashmesh=$1 name=$2 log=target/run/$2.log port deadline=$((SECONDS + 60))
    shift 2
    port=${ROLE_PORT:-$(free_port)} admin=$(free_port)
    "$hashmesh" "$name" --listen "127.0.0.1:$port" --admin-listen "127.0.0.1:$admin" "$@" 2>"$log" &
    ROLES+=("$!") ROLE_NAMES+=("$name")
    ROLE_URL=http://127.0.0.1:$port
    # A Gateway or Worker is ready only with the others.
    until curl --silent --fail --output /dev/null "http://127.0.0.1:$admin/readyz"; do
        if [ "$SECONDS" -ge "$deadline" ] || ! kill -0 "${ROLES[-1]}" 2>/dev/null; then
            echo "the $name is not ready:" >&2
            cat "$log" >&2
            return 1
        fi
        sleep 0.1
    done
}

# `kill -9` of a role, and another in its place: `replace_role HASHMESH ROLE OPTION…`.
replace_role() {
    local index
    for index in "${!ROLES[@]}"; do
        [ "${ROLE_NAMES[index]}" = "$2" ] || continue
        kill -KILL "${ROLES[index]}"
        wait "${ROLES[index]}" 2>/dev/null || true
        start_role "$@"
        ROLES[index]=${ROLES[-1]}
        unset 'ROLES[-1]' 'ROLE_NAMES[-1]'
        return
    done
    return 1
}

# A port that nobody listens on now.
free_port() {
    local port
    while :; do
        port=$((20000 + RANDOM % 12000))
        (: </dev/tcp/127.0.0.1/"$port") 2>/dev/null || break
    done
    echo "$port"
}

# Seconds of CPU that each role and Postgres have used, as JSON: {"queue": 1.5, …}
cpu_seconds() {
    local index json=
    for index in "${!ROLES[@]}"; do
        json+="\"${ROLE_NAMES[index]}\": $(ticks "${ROLES[index]}" | seconds), "
    done
    echo "{$json\"postgres\": $(postgres_ticks | seconds)}"
}

# The ticks of a process; with `children` those of its ended children too.
ticks() {
    # The fields behind the name, which may have blanks.
    sed 's/.*) //' "/proc/$1/stat" | awk -v with="${2:-}" '{ print $12 + $13 + (with ? $14 + $15 : 0) }'
}

# The server and all its processes, also those that have ended.
postgres_ticks() {
    local postmaster child
    postmaster=$(head -n 1 "$MESH_DATA/postgres/postmaster.pid")
    ticks "$postmaster" children
    for child in $(pgrep -P "$postmaster"); do ticks "$child" 2>/dev/null || true; done
}

seconds() {
    awk -v hertz="$(getconf CLK_TCK)" '{ sum += $1 } END { printf "%.2f", sum / hertz }'
}

stop_roles() {
    local index status=0
    # The Gateway first, so that nothing new comes in.
    for ((index = ${#ROLES[@]} - 1; index >= 0; index--)); do
        kill -TERM "${ROLES[index]}" 2>/dev/null || true
        wait "${ROLES[index]}" || { status=$?; echo "the ${ROLE_NAMES[index]} stopped with exit code $status" >&2; }
    done
    ROLES=()
    return "$status"
}

stop_mesh() {
    local status=0
    if [ "${#ROLES[@]}" -gt 0 ]; then stop_roles || status=$?; fi
    kill -TERM "$MESH_PID"
    wait "$MESH_PID" || status=$?
    trap - EXIT
    if [ "$status" -ne 0 ]; then
        echo "the mesh stopped with exit code $status:" >&2
        cat "$MESH_LOG" >&2
        return 1
    fi
    rm -rf "$MESH_DATA"
}

# On the way out after a failure. The data stays, for whoever looks into it.
abandon_mesh() {
    [ "${#ROLES[@]}" -eq 0 ] || stop_roles || true
    kill -TERM "$MESH_PID" 2>/dev/null || return 0
    wait "$MESH_PID" || true
    echo "the mesh's data is in $MESH_DATA, its log in $MESH_LOG" >&2
}
