#!/usr/bin/env bash
# What speaks for the promises, in one report: `evidence.sh HASHMESH TIME SEED REPORT`. HASHMESH is a release build. TIME, like `30s`,
# `10m` or `2h`, is for the simulation, and again for the faults. SEED is where every choice begins: whoever gives it again sees the
# same. REPORT is a Markdown file, the logs of what ran are beside it.
#
# It runs the simulation of the Queue's core (EVIDENCE_SCHEDULES, 100,000, and more while there is time), the mutants that the
# checker must find out, the fault matrix, again and again with other seeds while there is time, the replacement of every role
# under load, also by and of an earlier program (OLDER, a revision), and what a pinned xmin costs. It fails if one of them fails. Seeds of faults that failed are then in
# tests/faults/regressions, where `make faults` finds them; for those of the simulation the log says what to keep.
set -euo pipefail

hashmesh=$1 time=$2 seed=$3 report=$4
schedules=${EVIDENCE_SCHEDULES:-100000} slice=20000
case $time in
*h) limit=$((${time%h} * 3600)) ;;
*m) limit=$((${time%m} * 60)) ;;
*) limit=${time%s} ;;
esac
[[ $limit =~ ^[0-9]+$ && $seed =~ ^[0-9]+$ ]] || { echo "usage: evidence.sh HASHMESH TIME SEED REPORT, like target/release/hashmesh 10m 1 target/evidence.md" >&2; exit 2; }

mkdir -p "$(dirname "$report")"
logs=$(cd "$(dirname "$report")" && pwd)/evidence
rm -rf "$logs"
mkdir -p "$logs"
# Every file of the suite; "faults::" alone would find others' tests too.
suite=(tests/faults/*.rs)
suite=("${suite[@]#tests/}")
suite=("${suite[@]//\//::}")
suite=("${suite[@]/%.rs/::}")
tested=(--workspace --locked --features hashmesh-cli/mutants)
rows=$logs/rows.md faults=$logs/faults.jsonl failures=0
touch "$rows" "$faults"

# row NAME SEED TESTS BEGAN RESULT
row() {
    echo "| $1 | $2 | $3 | $((SECONDS - $4)) s | $5 |" >>"$rows"
    echo "$1: $3 tests passed, $5"
    [ "$5" = passed ] || failures=$((failures + 1))
}

# tests NAME SEED COMMAND…: runs cargo's tests into a log of their own. A filter that finds no test proves nothing.
tests() {
    local name=$1 with=$2 began=$SECONDS result=passed ran
    shift 2
    "$@" >"$logs/$name.log" 2>&1 || result=FAILED
    ran=$(sed -n 's/^test result: .* \([0-9]*\) passed; \([0-9]*\) failed; .*/\1 \2/p' "$logs/$name.log" |
        awk '{ passed += $1; failed += $2 } END { print passed + 0 " of " passed + failed + 0 }')
    [ "$ran" != "0 of 0" ] || result="FAILED, no test ran"
    row "$name" "$with" "$ran" "$began" "$result"
}

# keep NAME SEED: the seeds of faults that failed become regressions.
keep() {
    local fault kept=tests/faults/regressions
    sed -n 's/^    faults::.*::\([a-z0-9_]*\)$/\1/p' "$logs/$1.log" | sort -u | while IFS= read -r fault; do
        mkdir -p "$kept"
        echo "$2" >>"$kept/$fault"
        echo "$fault failed with seed $2: kept in $kept/$fault"
    done
}

cargo test "${tested[@]}" --no-run >"$logs/build.log" 2>&1 || { cat "$logs/build.log"; exit 1; }
began=$SECONDS

# Each says itself how many schedules it ran, and what hit.
if grep -rqs HASHMESH_SIM_SCHEDULES services/queue/src; then
    simulated=0 end=$((SECONDS + limit))
    while [ "$simulated" -lt "$schedules" ] || [ "$SECONDS" -lt "$end" ]; do
        tests "simulation-$simulated" "$((seed + simulated))" env HASHMESH_SIM_SEED="$((seed + simulated))" HASHMESH_SIM_SCHEDULES="$slice" \
            HASHMESH_SIM_REPORT="$logs/simulation-$simulated.json" CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 \
            cargo test --release --locked --package hashmesh-queue --lib schedules_of_the_environment -- --ignored --nocapture
        simulated=$((simulated + slice))
    done
else
    echo "| simulation | | | | not in this version |" >>"$rows"
fi

tests mutants "" cargo test "${tested[@]}" --test integration -- history::defects

# Once in any case, then as long as there is time, each round with another seed.
round=0 end=$((SECONDS + limit))
while [ "$round" -eq 0 ] || [ "$SECONDS" -lt "$end" ]; do
    tests "faults-$round" "$((seed + round))" env HASHMESH_FAULT_SEED="$((seed + round))" HASHMESH_FAULT_REPORT="$faults" \
        HASHMESH_TEST_LONG="${EVIDENCE_LONG:-1}" \
        cargo test "${tested[@]}" --test integration -- --include-ignored --nocapture --test-threads=1 "${suite[@]}"
    keep "faults-$round" "$((seed + round))"
    round=$((round + 1))
done

tests rolling "" cargo test "${tested[@]}" --test integration -- rolling::

older=$(dirname "$report")/older
tests upgrade "" tests/tools/upgrade.sh "$older" "${OLDER:-}" cargo test "${tested[@]}" --test integration -- --ignored --nocapture upgrade::

pinned=$SECONDS result=passed
tests/tools/pinned.sh "$hashmesh" "$((limit < 60 ? limit : 60))" 4 >"$logs/pinned.log" 2>&1 || result=FAILED
row pinned "" - "$pinned" "$result"

{
    echo "# Evidence"
    echo
    echo "- commit: $(git rev-parse HEAD)$(git diff --quiet HEAD || echo ', with changes')"
    echo "- machine: $(uname -srm), $(nproc) processors ($(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1)), $(awk '/^MemTotal/ { printf "%.0f GiB", $2 / 1048576 }' /proc/meminfo)"
    echo "- time given: $time for each of simulation and faults, seed $seed; it took $((SECONDS - began)) s, ended $(date --utc +%FT%TZ)"
    echo "- failed steps: $failures"
    echo
    echo "| what ran | seed | tests passed | took | result |"
    echo "|---|---|---|---|---|"
    cat "$rows"
    echo
    if compgen -G "$logs/simulation-*.json" >/dev/null; then
        echo "## Simulation"
        echo
        echo '```json'
        # Numbers of the slices are added up, whatever they are called.
        jq --slurp 'reduce (.[] | paths(numbers) as $path | {path: $path, value: getpath($path)}) as $each
            ({}; setpath($each.path; (getpath($each.path) // 0) + $each.value))' "$logs"/simulation-*.json
        echo '```'
        echo
    fi
    echo "With xmin pinned, of the throughput without: $(sed -n 's/.*"ratio": *\([0-9.]*\).*/\1/p' "$logs/pinned.log" | tail -n 1)"
    echo
    echo "## Faults"
    echo
    jq --slurp --raw-output '
        "Faults that hit: \(length), kinds: \(map(.fault) | unique | length), tasks recorded: \(map(.tasks // 0) | add // 0), " +
        "streams broken: \(map(.streams_broken // 0) | add // 0), calls made again: \(map(.calls_made_again // 0) | add // 0), " +
        "violations: \(map(.violations) | add // 0).", "",
        "| fault | hits | seeds | work went on after (longest) | violations | showed by (last) |", "|---|---|---|---|---|---|",
        (group_by(.fault)[] | "| \(.[0].fault) | \(length) | \(map(.seed // empty | tostring) | unique | join(" ")) " +
            "| \(map(.recovered_seconds) | max * 1000 | round / 1000) s | \(map(.violations) | add) " +
            "| \(.[-1].hit | gsub("[|\n]"; " ") | .[:160]) |")' "$faults"
    if [ "$failures" -gt 0 ]; then
        echo
        echo "## Failures"
        echo
        echo '```'
        grep -hE "^(test .* FAILED|thread .* panicked|.*HASHMESH_(FAULT|SIM)_SEED=)|violation" "$logs"/*.log | sort | uniq -c | head -n 100
        echo '```'
    fi
} >"$report"
echo "the report is $report, the logs are in $logs"
[ "$failures" -eq 0 ]
