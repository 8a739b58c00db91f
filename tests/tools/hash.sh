#!/usr/bin/env bash
# Digests of many inputs on one core, and then on all, ours beside other libraries': `hash.sh [ROUNDS]`. BENCH_HASH_CORE is the one
# core (the last), BENCH_HASH_FEATURES=aws-lc-rs adds that peer, HASHMESH_KERNELS says which of our kernels may be used.
set -euo pipefail

rounds=${1:-30}
core=${BENCH_HASH_CORE:-$(($(nproc) - 1))}
manifest=$(dirname "$0")/../bench/digests/Cargo.toml
target=${CARGO_TARGET_DIR:-target}/bench-digests

cargo build --quiet --release --manifest-path "$manifest" --target-dir "$target" --features "${BENCH_HASH_FEATURES:-}"
taskset --cpu-list "$core" "$target/release/bench-digests" "$rounds" 1
"$target/release/bench-digests" "$rounds" "$(nproc)"
