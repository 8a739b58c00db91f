# shellcheck shell=bash
# A whole mesh for a script: `start_mesh HASHMESH [UP_OPTION…]` returns once it is ready and exports HASHMESH_SERVER; `stop_mesh`
# fails unless it stops cleanly. Its data is new and goes away with it; its log stays in target/run.

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

stop_mesh() {
    local status=0
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
    kill -TERM "$MESH_PID" 2>/dev/null || return 0
    wait "$MESH_PID" || true
    echo "the mesh's data is in $MESH_DATA, its log in $MESH_LOG" >&2
}
