#!/usr/bin/env bash
# Installs what building, testing and linting need besides Rust: `setup.sh TOOLS`. On Debian, as root, by apt; grpcurl,
# buf and the S3 server of the tests into TOOLS. Elsewhere it names what is missing, and fails.
set -euo pipefail

tools=$1
grpcurl_version=v1.9.3
buf_version=1.75.0
bagit_version=1.9.0
versitygw_version=v1.8.0
missing=()

# command:Debian package
wanted=(cc:gcc make:make git:git curl:curl psql:postgresql-client sha256sum:coreutils jq:jq shellcheck:shellcheck go:golang-go redis-server:redis-server pgbouncer:pgbouncer python3:python3-venv hashdeep:hashdeep rclone:rclone)
packages=()
for pair in "${wanted[@]}"; do
    command -v "${pair%%:*}" >/dev/null || packages+=("${pair##*:}")
done
# A server for the tests of the store, an older one than the private one that `up` brings.
if [ -z "${POSTGRES_BIN:-}" ] && ! compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null; then
    packages+=(postgresql)
fi
if [ ${#packages[@]} -gt 0 ]; then
    if [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null; then
        apt-get update -qq
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${packages[@]}" >/dev/null
    else
        missing+=("${packages[@]}")
    fi
fi

cargo fmt --version >/dev/null 2>&1 || missing+=("rustfmt (rustup component add rustfmt)")
cargo clippy --version >/dev/null 2>&1 || missing+=("clippy (rustup component add clippy)")

mkdir -p "$tools/bin"
if [ ! -x "$tools/bin/grpcurl-$grpcurl_version" ]; then
    if command -v go >/dev/null; then
        GOBIN="$tools/bin" go install "github.com/fullstorydev/grpcurl/cmd/grpcurl@$grpcurl_version"
        mv "$tools/bin/grpcurl" "$tools/bin/grpcurl-$grpcurl_version"
    else
        missing+=("grpcurl (needs go)")
    fi
fi
ln -sf "grpcurl-$grpcurl_version" "$tools/bin/grpcurl"

if [ ! -x "$tools/bin/versitygw-$versitygw_version" ]; then
    if command -v go >/dev/null; then
        GOBIN="$tools/bin" go install "github.com/versity/versitygw/cmd/versitygw@$versitygw_version"
        mv "$tools/bin/versitygw" "$tools/bin/versitygw-$versitygw_version"
    else
        missing+=("versitygw (needs go)")
    fi
fi
ln -sf "versitygw-$versitygw_version" "$tools/bin/versitygw"

if [ ! -x "$tools/buf-$buf_version/bin/buf" ]; then
    rm -rf "$tools/buf-$buf_version"
    if python3 -m venv "$tools/buf-$buf_version"; then
        "$tools/buf-$buf_version/bin/pip" install --quiet "buf-bin==$buf_version"
    else
        missing+=("buf (needs python3 with venv)")
    fi
fi
ln -sf "../buf-$buf_version/bin/buf" "$tools/bin/buf"

if [ ! -x "$tools/bagit-$bagit_version/bin/bagit.py" ]; then
    rm -rf "$tools/bagit-$bagit_version"
    if python3 -m venv "$tools/bagit-$bagit_version"; then
        "$tools/bagit-$bagit_version/bin/pip" install --quiet "bagit==$bagit_version"
    else
        missing+=("bagit (needs python3 with venv)")
    fi
fi
ln -sf "../bagit-$bagit_version/bin/bagit.py" "$tools/bin/bagit.py"

if [ ${#missing[@]} -gt 0 ]; then
    echo "missing: ${missing[*]}" >&2
    exit 1
fi
echo "all tools are there (grpcurl, buf, versitygw and bagit.py in $tools/bin)"
