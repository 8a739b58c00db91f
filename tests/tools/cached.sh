#!/usr/bin/env bash
# What the cache saves: `cached.sh HASHMESH OBJECTS BYTES`. OBJECTS objects of BYTES bytes in an S3 store on loopback are listed and
# digested by the mesh: once, again, with --cache bypass, and after one of them was changed; then the same files as a tree, once and
# again. Checks every manifest, counts by the store's own log how many objects it has sent, and fails if a second run
# has fewer than 99 % of its digests from the cache, reads a byte, or takes more than a twentieth of the first one's time on S3.
set -euo pipefail

hashmesh=$1 objects=$2 bytes=$3
# shellcheck source=tests/tools/mesh.sh
. "$(dirname "$0")/mesh.sh"
export PATH="${XDG_CACHE_HOME:-$HOME/.cache}/hashmesh/tools/bin:$PATH"

work=$(mktemp -d /tmp/hashmesh-cached.XXXXXX)
store=127.0.0.1:$(free_port)
mkdir -p "$work/store/bucket"
chmod 755 "$work"
# As the store would keep them: the entity tag is an attribute of the file. Sparse but for their beginning, so that they fit a disk.
python3 - "$work/store/bucket" "$objects" "$bytes" <<'PYTHON'
import os, sys
root, count, size = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
for number in range(count):
    directory = f"{root}/{number // 1000:04}"
    if number % 1000 == 0:
        os.mkdir(directory)
    path = f"{directory}/{number:07}"
    with open(path, "wb") as file:
        file.write(f"object {number}\n".encode()[:size])
        file.truncate(size)
    os.setxattr(path, "user.etag", f'"{number:032x}"'.encode())
PYTHON

export AWS_ENDPOINT_URL=http://$store AWS_ACCESS_KEY_ID=bench AWS_SECRET_ACCESS_KEY=bench-secret
ROOT_ACCESS_KEY=bench ROOT_SECRET_KEY=bench-secret versitygw --port "$store" --keep-alive --quiet --access-log "$work/access" posix "$work/store" >/dev/null 2>&1 &
server=$!
export HASHMESH_ALLOW_SOURCE="s3://bucket,$work/store/bucket"
start_mesh "$hashmesh"
(cd "$work/store" && find bucket -type f -print0 | xargs -0 sha256sum | sed 's|  |  s3://|' | sort) >"$work/wanted"
failed=0

# Objects that the store has sent so far.
sent() { grep --count ' s3_GetObject ' "$work/access" || true; }

# `digest NAME SOURCE OPTION…`: lists and digests a place; its time is in SECONDS_TAKEN, its manifest in $work/NAME.
digest() {
    local name=$1 before began id
    shift
    before=$(sent)
    began=$EPOCHREALTIME
    id=$("$hashmesh" submit "$@" --detach --quiet)
    "$hashmesh" watch "$id" >/dev/null
    SECONDS_TAKEN=$(bc <<<"$EPOCHREALTIME - $began")
    "$hashmesh" results "$id" --output jsonl | jq --compact-output 'select(.name | endswith("/") | not)' >"$work/$name.jsonl"
    CACHED=$(grep --count '"cached":true' "$work/$name.jsonl" || true)
    HASHED=$("$hashmesh" get "$id" --output json | jq .hashed_bytes)
    SENT=$(($(sent) - before))
    echo "{\"run\": \"$name\", \"objects\": $(wc -l <"$work/$name.jsonl"), \"cached\": $CACHED, \"hashed_bytes\": $HASHED," \
        "\"objects_sent_by_the_store\": $SENT, \"seconds\": $SECONDS_TAKEN}"
    jq -r '.digests.sha256 + "  " + .name' "$work/$name.jsonl" | sed "s|file://$work/store/|s3://|" | sort | cmp - "$work/wanted"
}

# `expect WHAT CONDITION`, the condition for bc.
expect() {
    if [ "$(bc <<<"$2")" -ne 1 ]; then
        echo "FAIL: $1 ($2)" >&2
        failed=1
    fi
}

digest s3-first s3://bucket
first=$SECONDS_TAKEN
expect "the first run reads everything" "$CACHED == 0"
digest s3-second s3://bucket
expect "at least 99 % of the second run come from the cache" "$CACHED * 100 >= $objects * 99"
expect "the store sends nothing that has not changed" "$SENT == $objects - $CACHED"
expect "the second run is 20 times as fast" "$first >= 20 * $SECONDS_TAKEN"
echo "{\"first\": $first, \"second\": $SECONDS_TAKEN, \"ratio\": $(bc <<<"scale=1; $first / $SECONDS_TAKEN")}"
digest s3-bypass s3://bucket --cache bypass
expect "with --cache bypass everything is read" "$CACHED == 0 && $HASHED == $objects * $bytes"

changed=0000/0000007
head -c "$bytes" /dev/urandom >"$work/changed"
curl --silent --fail --noproxy '*' --aws-sigv4 aws:amz:us-east-1:s3 --user bench:bench-secret \
    --header 'x-amz-content-sha256: UNSIGNED-PAYLOAD' --upload-file "$work/changed" "http://$store/bucket/$changed"
sed -i "s|^.*  s3://bucket/$changed\$|$(sha256sum "$work/changed" | cut -d' ' -f1)  s3://bucket/$changed|" "$work/wanted"
sort -o "$work/wanted" "$work/wanted"
digest s3-changed s3://bucket
expect "exactly the one that has changed is read" "$CACHED == $objects - 1 && $SENT == 1 && $HASHED == $bytes"

digest tree-first "file://$work/store/bucket/"
first=$SECONDS_TAKEN
digest tree-second "file://$work/store/bucket/"
expect "at least 99 % of the tree's second run come from the cache" "$CACHED * 100 >= $objects * 99 && $HASHED <= $objects * $bytes / 100"
echo "{\"tree_first\": $first, \"tree_second\": $SECONDS_TAKEN, \"ratio\": $(bc <<<"scale=1; $first / $SECONDS_TAKEN")}"
"$hashmesh" cache stats --output json
stop_mesh
kill "$server"
rm -rf "$work"
exit "$failed"
