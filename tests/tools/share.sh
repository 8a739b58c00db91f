#!/usr/bin/env bash
# What digests cost of all that a task costs: `share.sh HASHMESH BYTES ROUNDS`. Submits inline tasks of 64 B, 1 KiB and 16 KiB, BYTES of
# each and at least 100,000 tasks, to a mesh whose kernels may be `sha2` alone, and then to one that chooses; ROUNDS times in changing order.
# Prints the medians: tasks per second, CPU microseconds of a task (Gateway, Queue, Worker, Postgres), those of the Worker's digest
# threads, and their share.
set -euo pipefail

hashmesh=$1 bytes=$2 rounds=$3
# shellcheck source=tests/tools/mesh.sh
. "$(dirname "$0")/mesh.sh"

rows=$(mktemp /tmp/hashmesh-share.XXXXXX)
trap 'rm -f "$rows"' EXIT

# CPU seconds of the Worker's digest threads.
digest_seconds() {
    local index thread
    for index in "${!ROLES[@]}"; do
        [ "${ROLE_NAMES[index]}" = worker ] || continue
        for thread in /proc/"${ROLES[index]}"/task/*; do
            case $(cat "$thread/comm") in hash-*) sed 's/.*) //' "$thread/stat" | awk '{ print $12 + $13 }' ;; esac
        done
    done | seconds
}

# measure KERNELS: a row per size.
measure() {
    local size tasks batch before digests row
    if [ "$1" = sha2 ]; then export HASHMESH_KERNELS=sha2; else unset HASHMESH_KERNELS; fi
    start_roles "$hashmesh"
    trap 'abandon_mesh; rm -f "$rows"' EXIT
    for size in 64 1024 16384; do
        tasks=$((bytes / size > 100000 ? bytes / size : 100000)) batch=$((size > 4096 ? 64 : 1000))
        before=$(cpu_seconds) digests=$(digest_seconds)
        row=$("$hashmesh" bench --tasks "$tasks" --size "$size" --batch "$batch" --streams 4 --output jsonl)
        jq --raw-output --arg kernels "$1" --argjson size "$size" --argjson tasks "$tasks" --argjson before "$before" \
            --argjson after "$(cpu_seconds)" --argjson digests "$(digest_seconds)" --argjson began "$digests" '
            ([$after[]] | add) - ([$before[]] | add) | . as $all
            | [$size, $kernels, $row.durable_tasks_per_second, $all / $tasks * 1e6, ($digests - $began) / $tasks * 1e6, ($digests - $began) / $all]
            | @tsv' --argjson row "$row" --null-input >>"$rows"
    done
    stop_mesh
    trap 'rm -f "$rows"' EXIT
}

for ((round = 0; round < rounds; round++)); do
    if ((round % 2)); then order=(chosen sha2); else order=(sha2 chosen); fi
    for kernels in "${order[@]}"; do measure "$kernels"; done
done

# median SIZE KERNELS COLUMN
median() {
    awk -v size="$1" -v kernels="$2" -v column="$3" '$1 == size && $2 == kernels { print $column }' "$rows" |
        sort -g | awk '{ all[NR] = $1 } END { print all[int((NR + 1) / 2)] }'
}

printf '%8s %-8s %14s %12s %16s %16s\n' bytes kernels 'tasks/s' 'CPU us/task' 'digest us/task' 'share of digest'
for size in 64 1024 16384; do
    for kernels in sha2 chosen; do
        printf '%8s %-8s %14.0f %12.3f %16.3f %15.1f%%\n' "$size" "$kernels" "$(median "$size" "$kernels" 3)" \
            "$(median "$size" "$kernels" 4)" "$(median "$size" "$kernels" 5)" \
            "$(median "$size" "$kernels" 6 | awk '{ print 100 * $1 }')"
    done
done
