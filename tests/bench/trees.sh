#!/usr/bin/env bash
# Digests of a tree of many small files, and of a few large ones, from the page cache: `trees.sh HASHMESH DIRECTORY FILES ROUNDS LARGE MIB`.
# Builds below DIRECTORY, which should be on a disk, FILES small files and LARGE of MIB MiB (tree.py);
# runs `hashmesh sum` and the tools that people use instead, in changing order, ROUNDS times; checks that all say the same; and prints the
# best and the median of each, and how many times as long as `hashmesh sum` it took. `hashmesh submit` of the small files, with all results durable, is
# measured too, the cache bypassed. Tools that are not installed are left out. The files are deleted in the end.
set -euo pipefail

hashmesh=$(realpath "$1") parent=$2 files=$3 rounds=$4 large=$5 mib=$6
# shellcheck source=tests/tools/mesh.sh
. "$(dirname "$0")/../tools/mesh.sh"
export LC_ALL=C

here=$PWD
mkdir -p "$parent"
work=$(realpath "$(mktemp -d "$parent/hashmesh-trees.XXXXXX")")
clean() { rm -rf "$work"; }
trap clean EXIT
out=$(mktemp -d /tmp/hashmesh-trees.XXXXXX)

python3 "$here/tests/bench/tree.py" "$work" "$files" "$large" "$mib"
cd "$work"
small_bytes=$(find small -type f -printf '%s\n' | awk '{ sum += $1 } END { print sum }')
large_bytes=$((large * mib << 20))
# Into the page cache.
find . -type f -print0 | xargs -0 cat >/dev/null

# It cuts its output anywhere, so that two cannot share a file.
# shellcheck disable=SC2016 # the inner shell's
openssl=(sh -c 'exec openssl dgst -sha256 -r "$@" >"$0.$$"' "$out/part")

# Each prints `DIGEST  NAME`, in any order.
small_sum() { "$hashmesh" sum -r small; }
small_sha256sum() { find small -type f -print0 | xargs -0 -P2 -n 500 sha256sum; }
small_openssl() { find small -type f -print0 | xargs -0 -P2 -n 500 "${openssl[@]}"; }
small_hashdeep() { hashdeep -r -l -c sha256 small; }
small_sum_blake3() { "$hashmesh" sum -r -a blake3 small; }
small_b3sum() { find small -type f -print0 | xargs -0 -P2 -n 500 b3sum --num-threads 1; }
large_sum() { "$hashmesh" sum -r large; }
large_sha256sum() { find large -type f -print0 | xargs -0 -P2 -n 1 sha256sum; }
large_openssl() { find large -type f -print0 | xargs -0 -P2 -n 1 "${openssl[@]}"; }
large_hashdeep() { hashdeep -r -l -c sha256 large; }
large_sum_blake3() { "$hashmesh" sum -r -a blake3 large; }
large_b3sum() { find large -type f -print0 | xargs -0 b3sum; }
small_submit() { "$hashmesh" submit --cache bypass --quiet small; }

lines() {
    case $1 in
    *openssl) sed 's/ \*/  /' ;;
    *hashdeep) sed -n 's/^[0-9]*,\([0-9a-f]*\),\(\.\/\)\{0,1\}/\1  /p' ;;
    *) cat ;;
    esac <"$out/$1" | sort | sha256sum
}

measure() {
    local began=$EPOCHREALTIME
    "$1" >"$out/$1"
    bc <<<"$EPOCHREALTIME - $began" >>"$out/$1.seconds"
    find "$out" -name 'part.*' -exec cat {} + >>"$out/$1"
    find "$out" -name 'part.*' -delete
}

runs=()
for kind in small large; do
    [ "$kind" = small ] || [ "$large" -gt 0 ] || continue
    runs+=("${kind}_sum" "${kind}_sha256sum")
    [ "$kind" = large ] || runs+=(small_submit)
    if command -v openssl >/dev/null; then runs+=("${kind}_openssl"); fi
    if command -v hashdeep >/dev/null; then runs+=("${kind}_hashdeep"); fi
    runs+=("${kind}_sum_blake3")
    if command -v b3sum >/dev/null; then runs+=("${kind}_b3sum"); fi
done

cd "$here"
export HASHMESH_ALLOW_SOURCE=$work
start_mesh "$hashmesh"
trap 'abandon_mesh; clean' EXIT
cd "$work"
for ((round = 0; round < rounds; round++)); do
    # In another order each time, the same at every start: what comes behind the large files finds the CPU's caches full of them.
    mapfile -t order < <(printf '%s\n' "${runs[@]}" | shuf --random-source=<(yes "$round"))
    for run in "${order[@]}"; do measure "$run"; done
done
for run in "${runs[@]}"; do
    case $run in
    *blake3 | *b3sum) against=${run%%_*}_sum_blake3 ;;
    *) against=${run%%_*}_sha256sum ;;
    esac
    [ "$(lines "$run")" = "$(lines "$against")" ] || { echo "$run and $against differ: see $out" >&2; exit 1; }
done
cd "$here"
stop_mesh
trap clean EXIT

median() { sort -n "$1" | awk '{ all[NR] = $1 } END { print all[int((NR + 1) / 2)] }'; }
best() { sort -n "$1" | head -n 1; }
printf '%-20s %9s %9s %9s %12s %8s\n' run 'best s' 'median s' 'MB/s' 'files/s' 'x sum'
for run in "${runs[@]}"; do
    case $run in
    small*) bytes=$small_bytes count=$files ;;
    *) bytes=$large_bytes count=$large ;;
    esac
    case $run in
    *blake3 | *b3sum) ours=${run%%_*}_sum_blake3 ;;
    *) ours=${run%%_*}_sum ;;
    esac
    awk -v run="$run" -v best="$(best "$out/$run.seconds")" -v median="$(median "$out/$run.seconds")" \
        -v ours="$(median "$out/$ours.seconds")" -v bytes="$bytes" -v count="$count" \
        'BEGIN { printf "%-20s %9.3f %9.3f %9.0f %12.0f %8.2f\n", run, best, median, bytes / median / 1e6, count / median, median / ours }'
done
rm -rf "$out"
