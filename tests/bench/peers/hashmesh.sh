#!/usr/bin/env bash
# hashmesh as one of the peers: `hashmesh.sh setup|e2e|latency|check` with PEERS_HASHMESH (the program), DATABASE_URL, N and CFG
# (`keep=1` stores every input) in the environment; the last line is a JSON object. Gateway, Queue, Worker, Hash and client are
# processes of their own. Runs in the root of the source tree.
set -euo pipefail

phase=$1
# shellcheck source=tests/tools/mesh.sh
. tests/tools/mesh.sh

case $phase in
setup)
    "$PEERS_HASHMESH" migrate --database-url "$DATABASE_URL" >&2
    exit
    ;;
check)
    exec "$PEERS_CACHE/go-peers" hashmesh "$CHECKED"
    ;;
e2e) arguments=(--batch 1000 --streams 4) ;;
latency) arguments=(--latency) ;;
esac
[[ $CFG != *keep=1* ]] || arguments+=(--keep-inputs)

trap 'stop_roles || true' EXIT
start_roles_on "$PEERS_HASHMESH" "$DATABASE_URL"
# The roles are to wait for work, as the peers' workers do.
sleep 1
row=$("$PEERS_HASHMESH" bench --tasks "$N" --size 64 --seed 20 "${arguments[@]}" --output jsonl)
stop_roles
trap - EXIT
jq --compact-output '{seconds, p50_ms: .submit_to_result_ms.p50, p99_ms: .submit_to_result_ms.p99}' <<<"$row"
