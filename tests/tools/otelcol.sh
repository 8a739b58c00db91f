#!/usr/bin/env bash
# An OpenTelemetry collector of few parts, made by its own builder: `otelcol.sh BIN` has it at BIN/otelcol, a link to one whose name
# says what it was made of. Linked statically: it runs in an empty image too.
set -euo pipefail

bin=$1
version=v0.160.0
# Raised when the components change.
recipe=2
core=go.opentelemetry.io/collector

name=otelcol-$version-$recipe
if [ ! -x "$bin/$name" ]; then
    build=$(mktemp -d)
    trap 'rm -rf "$build"' EXIT
    export CGO_ENABLED=0
    GOBIN="$build" go install "$core/cmd/builder@$version"
    cat > "$build/builder.yaml" <<YAML
dist: {name: otelcol, version: ${version#v}, output_path: $build/out}
receivers:
  - {gomod: $core/receiver/otlpreceiver $version}
processors:
  - {gomod: $core/processor/batchprocessor $version}
  - {gomod: $core/processor/memorylimiterprocessor $version}
exporters:
  - {gomod: $core/exporter/debugexporter $version}
  - {gomod: $core/exporter/otlpexporter $version}
  - {gomod: $core/exporter/otlphttpexporter $version}
extensions:
  - {gomod: github.com/open-telemetry/opentelemetry-collector-contrib/extension/healthcheckextension $version}
YAML
    if ! "$build/builder" --config "$build/builder.yaml" > "$build/log" 2>&1; then
        tail -n 20 "$build/log" >&2
        exit 1
    fi
    mkdir -p "$bin"
    mv "$build/out/otelcol" "$bin/$name"
fi
ln -sf "$name" "$bin/otelcol"
