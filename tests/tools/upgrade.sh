#!/usr/bin/env bash
# An earlier program, and tests with it: `upgrade.sh DIRECTORY REVISION COMMAND…` builds that revision of hashmesh below DIRECTORY
# and runs COMMAND with HASHMESH_TEST_OLDER set to its path. Without a revision ('') it is the last one that builds before the
# newest migration came in, so that a migration lies between.
set -euo pipefail

directory=$1 revision=$2
shift 2

fail() {
    echo "$1" >&2
    exit 1
}

# What is there of a commit and what is not depends on the clone.
has() {
    git rev-parse --quiet --verify "$1^{commit}"
}

git rev-parse --git-dir >/dev/null 2>&1 || fail "the earlier program is built from git, and this is no clone: git clone hashmesh, with its history"
missing="is not in this clone"
if [ "$(git rev-parse --is-shallow-repository)" = true ]; then
    missing="$missing, which is shallow: git fetch --unshallow"
fi

if [ -n "$revision" ]; then
    first=$(has "$revision") || fail "OLDER=$revision $missing"
    attempts=1
else
    newest=$(find migrations -name 'V*.sql' | sort --version-sort | tail -n 1)
    added=$(git log -1 --diff-filter=A --format=%H -- "$newest")
    # What is not committed came in after all that is.
    if [ -n "$added" ]; then before=$added^; else before=HEAD; fi
    first=$(has "$before") || fail "the commit before $newest $missing"
    attempts=10
fi

mkdir -p "$directory"
directory=$(cd "$directory" && pwd)
source=$directory/source built=$directory/built older=$directory/hashmesh
if [ ! -x "$older" ] || ! grep -qs "^$first " "$built"; then
    [ -e "$source/.git" ] || git worktree add --quiet --force --force --detach "$source" "$first"
    rm -f "$older" "$built"
    found=
    for ((back = 0; back < attempts; back++)); do
        candidate=$(has "$first~$back") || fail "a commit before $first $missing"
        git -C "$source" checkout --quiet --detach --force "$candidate"
        echo "building $(git log -1 --format='%h (%s)' "$candidate")" >&2
        # Its own Cargo.lock and settings, and nothing of what is built here.
        if (cd "$source" && CARGO_TARGET_DIR=$directory/target cargo build --workspace --locked --bin hashmesh); then
            found=$candidate
            break
        fi
    done
    [ -n "$found" ] || fail "no earlier program can be built of $first or what came before it; OLDER=REVISION chooses another"
    cp "$directory/target/debug/hashmesh" "$older"
    echo "$first $found" >"$built"
fi
read -r _ found <"$built"
echo "the earlier program is $(git log -1 --format='%h of %cs (%s)' "$found")" >&2
HASHMESH_TEST_OLDER=$older exec "$@"
