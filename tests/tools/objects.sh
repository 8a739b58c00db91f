#!/usr/bin/env bash
# Many small objects and a few large ones, each read once for three digests, by reference: `objects.sh HASHMESH OBJECTS GIB`. OBJECTS
# small ones and one of 2 GiB in an S3 store on loopback, a sparse one of GIB GiB as a file and from a web server. Checks each
# SHA-256 against sha256sum, verifies the manifest, and prints rates and the most memory that worker and Queue have taken. Then the mesh
# lists the bucket itself, while its worker and its Queue are killed by `kill -9`: every object must be there once.
set -euo pipefail

hashmesh=$1 objects=$2 gib=$3
# shellcheck source=tests/tools/mesh.sh
. "$(dirname "$0")/mesh.sh"
export PATH="${XDG_CACHE_HOME:-$HOME/.cache}/hashmesh/tools/bin:$PATH"

work=$(mktemp -d /tmp/hashmesh-objects.XXXXXX)
store=127.0.0.1:$(free_port) web=127.0.0.1:$(free_port)
mkdir -p "$work/store/bucket" "$work/web"
python3 - "$work/store/bucket" "$objects" <<'PYTHON'
import os, sys
for number in range(int(sys.argv[2])):
    directory = f"{sys.argv[1]}/{number // 1000:04}"
    if number % 1000 == 0:
        os.mkdir(directory)
    with open(f"{directory}/{number:07}", "wb") as file:
        file.write(f"object {number}\n".encode() * (1 + number % 64))
PYTHON
truncate --size 2G "$work/store/bucket/large"
truncate --size "${gib}G" "$work/web/large"

export AWS_ENDPOINT_URL=http://$store AWS_ACCESS_KEY_ID=bench AWS_SECRET_ACCESS_KEY=bench-secret
ROOT_ACCESS_KEY=bench ROOT_SECRET_KEY=bench-secret versitygw --port "$store" --keep-alive --quiet posix "$work/store" >/dev/null 2>&1 &
servers=("$!")
(cd "$work/web" && exec python3 -m http.server --bind "${web%:*}" "${web#*:}") >/dev/null 2>&1 &
servers+=("$!")
export HASHMESH_ALLOW_SOURCE="s3://bucket,http://$web,$work/web" HASHMESH_ALLOW_NETWORK=127.0.0.0/8
start_roles "$hashmesh"

(cd "$work/store" && find bucket -type f -printf 's3://%p\n' | sort) >"$work/uris"
printf 'http://%s/large\nfile://%s/web/large\n' "$web" "$work" >"$work/large"
most_memory() { sed -n 's/VmHWM:[[:space:]]*\([0-9]*\) kB/\1/p' "/proc/$1/status"; }

digest() {
    local began=$EPOCHREALTIME
    "$hashmesh" submit --files-from "$1" -a sha256 -a md5 -a blake3 --output jsonl --quiet >"$1.jsonl"
    echo "{\"objects\": $(wc -l <"$1.jsonl"), \"bytes\": $(jq -s 'map(.size) | add' "$1.jsonl"), \"seconds\": $(bc <<<"$EPOCHREALTIME - $began")}"
}
digest "$work/uris"
digest "$work/large"
"$hashmesh" verify "$work/uris.jsonl" --quiet

# Against coreutils, read from the files behind the servers.
(cd "$work/store" && find bucket -type f -print0 | xargs -0 sha256sum | sed 's|  |  s3://|' | sort) >"$work/wanted"
jq -r '.digests.sha256 + "  " + .name' "$work/uris.jsonl" | sort | cmp - "$work/wanted"
large=$(sha256sum "$work/web/large" | cut -d' ' -f1)
[ "$(jq -r .digests.sha256 "$work/large.jsonl" | sort -u)" = "$large" ]

memory=()
for index in "${!ROLES[@]}"; do memory+=("\"${ROLE_NAMES[index]}_kib\": $(most_memory "${ROLES[index]}")"); done
(IFS=,; echo "{${memory[*]}}")

began=$EPOCHREALTIME
id=$("$hashmesh" submit s3://bucket -a sha256 -a md5 -a blake3 --detach --quiet)
recorded() {
    until [ "$("$hashmesh" get "$id" --output json | jq .recorded_tasks)" -ge "$1" ]; do :; done
}
recorded $((objects / 10))
replace_role "$hashmesh" worker --queue "$QUEUE_URL"
recorded $((objects / 4))
ROLE_PORT=${QUEUE_URL##*:} replace_role "$hashmesh" queue --database-url "$MESH_DATABASE?sslmode=disable"
"$hashmesh" results "$id" --follow --output jsonl >"$work/listed.jsonl"
echo "{\"listed\": $(wc -l <"$work/listed.jsonl"), \"kills\": 2, \"seconds\": $(bc <<<"$EPOCHREALTIME - $began")}"
jq -r '.digests.sha256 + "  " + .name' "$work/listed.jsonl" | sort | cmp - "$work/wanted"
stop_mesh
kill "${servers[@]}"
rm -rf "$work"
