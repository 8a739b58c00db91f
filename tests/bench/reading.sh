#!/usr/bin/env bash
# The ways to read a tree of many small files and a few large ones, from the page cache and from the disk, with SHA-256 of each
# behind them: `reading.sh DIRECTORY FILES ROUNDS LARGE MIB`. The tree is tree.py's, below DIRECTORY, which should be on a disk, and is deleted
# in the end. Needs a Linux with io_uring (sysctl kernel.io_uring_disabled=0).
set -euo pipefail

parent=$1 files=$2 rounds=$3 large=$4 mib=$5
manifest=tests/bench/reading/Cargo.toml
target=${CARGO_TARGET_DIR:-target}/bench-reading

cargo build --quiet --release --manifest-path "$manifest" --target-dir "$target"
mkdir -p "$parent"
work=$(mktemp -d "$parent/hashmesh-reading.XXXXXX")
trap 'rm -rf "$work"' EXIT
python3 tests/bench/tree.py "$work" "$files" "$large" "$mib"
sync -f "$work"
"$target/release/bench-reading" "$work" "$rounds"
