#!/usr/bin/env bash
# What a tenant with TASKS tasks costs a tenant with single ones: `tenants.sh HASHMESH TASKS [CALLS]`. Gateway, Queue, Worker,
# Hash and Postgres are processes of their own. See tests/bench/tenants.rs, which measures and prints a JSON object.
set -euo pipefail

hashmesh=$1 tasks=$2 calls=${3:-2000}
# shellcheck source=tests/tools/mesh.sh
. "$(dirname "$0")/mesh.sh"

start_roles "$hashmesh"
status=0
"$(dirname "$hashmesh")/examples/tenants" "$QUEUE_URL" "$tasks" "$calls" | jq . || status=$?
stop_mesh
exit "$status"
