#!/usr/bin/env bash
# The main job, end to end: `run.sh HASHMESH INPUT` digests every file below INPUT through a whole mesh, writes
# target/run/manifest.sha256, has coreutils check it, and says how much and how fast. Exit code: that of the job.
set -euo pipefail

hashmesh=$1
input=$(realpath -- "$2")
manifest=target/run/manifest.sha256
# shellcheck source=tests/tools/mesh.sh
. "$(dirname "$0")/mesh.sh"

start_mesh "$hashmesh" --allow-source "$input"
echo "mesh at $HASHMESH_SERVER, digesting $input"

status=0
started_ns=$(date +%s%N)
"$hashmesh" submit --by-reference -- "$input" >"$manifest" || status=$?
ended_ns=$(date +%s%N)
# 1: all was done that could be done, and the rest is reported.
if [ "$status" -gt 1 ]; then
    echo "submit failed with exit code $status" >&2
    exit "$status"
fi

# coreutils calls an empty manifest an error.
if [ -s "$manifest" ]; then
    sha256sum -c --quiet "$manifest"
fi
stop_mesh

files=$(wc -l <"$manifest")
bytes=$(find "$input" -type f -printf '%s\n' 2>/dev/null | awk '{ sum += $1 } END { printf "%.0f", sum }')
awk -v files="$files" -v bytes="$bytes" -v ns="$((ended_ns - started_ns))" -v manifest="$manifest" 'BEGIN {
    seconds = ns / 1e9
    printf "%d files, %d bytes in %.2f s: %.0f files/s, %.1f MB/s; %s is accepted by sha256sum -c\n",
        files, bytes, seconds, files / seconds, bytes / 1e6 / seconds, manifest
}'
exit "$status"
