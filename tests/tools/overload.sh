#!/usr/bin/env bash
# What becomes of a mesh that is asked for up to 10 times what it can do: `overload.sh HASHMESH PLACES SECONDS`. A whole mesh
# whose Gateway has PLACES for calls that bring work; see tests/bench/overload.rs, which offers the load and judges.
set -euo pipefail

hashmesh=$1 places=$2 seconds=$3
# shellcheck source=tests/tools/mesh.sh
. "$(dirname "$0")/mesh.sh"

mkdir -p target/run/overload
input=$PWD/target/run/overload/input
head --bytes 1048576 /dev/urandom >"$input"
start_mesh "$hashmesh" --auth keys --max-concurrent-calls "$places" --allow-source "$PWD/target/run/overload"
# Who offers the load must never wait for a CPU behind those who are offered too much.
polite=()
nice -n -10 true 2>/dev/null && polite=(nice -n -10)
status=0
"${polite[@]}" "$(dirname "$hashmesh")/examples/overload" "$HASHMESH_SERVER" "$MESH_DATA/admin.key" "$input" "$places" \
    "$MESH_PID" "$seconds" | tee target/run/overload.txt || status=$?
stop_mesh
rm -rf target/run/overload
[ "$status" -eq 0 ] || { echo "FAIL overload"; exit 1; }
echo "PASS overload"
