#!/usr/bin/env bash
# Makes what Envoy is given from what it is made of: `envoy.sh [OUT]`, OUT being envoy/ if it is not said.
#
#   envoy.yaml, lb/gateway.yaml            production ┐ from source/, whose lines after `#if production` are for the one, those after
#   envoy.dev.yaml, lb/gateway.dev.yaml   development ┘ `#if development` for the other, and those after `#end` for both
#   hashmesh.binpb                         the public services and the errors' details, for the transcoder
#   openapi.yaml                           the same for people and for generators of clients
set -euo pipefail
cd "$(dirname "$0")/../.."
out=${1:-envoy}
mkdir -p "$out/lb"

# variant NAME SOURCE
variant() {
    echo "# Made by \`make envoy\` from envoy/source/$2: change that."
    awk -v variant="$1" '/^#if /  { wanted = $2; next } /^#end/ { wanted = ""; next } wanted == "" || wanted == variant' "envoy/source/$2"
}
variant production envoy.yaml >"$out/envoy.yaml"
variant development envoy.yaml >"$out/envoy.dev.yaml"
variant production lb/gateway.yaml >"$out/lb/gateway.yaml"
variant development lb/gateway.yaml >"$out/lb/gateway.dev.yaml"

buf build proto --as-file-descriptor-set --exclude-source-info --output "$out/hashmesh.binpb" \
    --type hashmesh.gateway.v1.GatewayService --type hashmesh.admin.v1.AdminService --type google.rpc.Status \
    --type google.rpc.ErrorInfo --type google.rpc.BadRequest --type google.rpc.RetryInfo

buf generate proto --template envoy/source/openapi.gen.yaml --output "$out" \
    --path proto/hashmesh/gateway --path proto/hashmesh/admin --path proto/hashmesh/v1
# The plugin knows no authorization.
sed -i -e 's|^paths:$|security:\n    - {}\n    - apiKey: []\npaths:|' \
    -e 's|^components:$|components:\n    securitySchemes:\n        apiKey:\n            type: http\n            scheme: bearer|' "$out/openapi.yaml"
