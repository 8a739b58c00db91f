#!/usr/bin/env bash
# Builds the clients: `build.sh OUT LANGUAGE…`, of python, go, java, node and web. Everything it makes is below OUT, in a directory
# for each language; what runs is OUT/LANGUAGE/submit. What is up to date is left alone.
set -euo pipefail

if [ $# -lt 2 ]; then
    echo "usage: $0 OUT LANGUAGE..." >&2
    exit 1
fi
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
protos=$(cd "$here/../../proto" && pwd)
mkdir -p "$1"
out=$(cd "$1" && pwd)
shift
# Where `make setup` puts buf.
PATH=${TOOLS:-${XDG_CACHE_HOME:-$HOME/.cache}/hashmesh/tools}/bin:$PATH

# The published packages. What is between the services of a mesh is nobody else's.
packages=(hashmesh/gateway/v1 hashmesh/admin/v1 hashmesh/v1)

# What a language's output depends on.
inputs() {
    (cd "$protos" && find "${packages[@]}" vendor -type f -print0 | sort -z | xargs -0 sha256sum)
    (cd "$here" && find "$1" build.sh -type f -print0 | sort -z | xargs -0 sha256sum)
}

# generate LANGUAGE [PATH…]: code, by plugins on the PATH, of the published packages and of what else is named.
generate() {
    local template=$here/$1/buf.gen.yaml
    shift
    set -- "${packages[@]}" "$@"
    buf generate "$protos" --template "$template" --output "$target" "${@/#/--path=$protos/}"
}

# launcher COMMAND…: the `submit` that runs this. CA names the variable by which its runtime is told a file of authorities.
launcher() {
    {
        echo '#!/bin/sh'
        [ -z "${CA:-}" ] || echo "[ -z \"\$HASHMESH_TLS_CA\" ] || export $CA=\"\$HASHMESH_TLS_CA\""
        echo "exec$(printf ' %q' "$@") \"\$@\""
    } >"$target/submit"
    chmod +x "$target/submit"
}

build_python() {
    # Two environments: what generates is old, what runs is new (see the requirements).
    python3 -m venv "$target/generate"
    python3 -m venv "$target/run"
    "$target/generate/bin/pip" install --quiet --disable-pip-version-check --no-deps -r "$source/requirements-generate.txt"
    "$target/run/bin/pip" install --quiet --disable-pip-version-check --no-deps -r "$source/requirements.txt"
    # Folders are the packages of the protos, which is how the generated modules import each other.
    mkdir "$target/generated"
    cd "$protos"
    find "${packages[@]}" -name '*.proto' -print0 |
        PATH=$target/generate/bin:$PATH xargs -0 python3 -m grpc_tools.protoc --proto_path . --proto_path vendor \
            --python_out "$target/generated" --grpc_python_out "$target/generated" \
            --mypy_out "quiet:$target/generated" --mypy_grpc_out "quiet:$target/generated"
    cp "$source/submit.py" "$target"
    MYPYPATH=$target/generated "$target/run/bin/mypy" --config-file "$source/mypy.ini" --cache-dir "$target/mypy" \
        --python-executable "$target/run/bin/python" --no-error-summary "$target/submit.py"
    CA=GRPC_DEFAULT_SSL_ROOTS_FILE_PATH launcher env "PYTHONPATH=$target/generated" "$target/run/bin/python" "$target/submit.py"
}

build_go() {
    cp "$source"/{go.mod,go.sum,mesh.go,submit.go} "$target"
    cd "$target"
    # The plugins are of the versions that go.mod says.
    GOBIN=$target/bin go install tool
    PATH=$target/bin:$PATH generate go
    go vet ./...
    go build -o client .
    CA=SSL_CERT_FILE launcher "$target/client"
}

build_java() {
    if ! mvn --batch-mode --no-transfer-progress --file "$source/pom.xml" "-Dout=$target" "-Dprotos=$protos" compile >"$target/maven.log" 2>&1; then
        cat "$target/maven.log" >&2
        exit 1
    fi
    launcher java -cp "$target/classes:$target/lib/*" Submit
}

# The packages of a package-lock.json, and code. Scripts of packages are not run: none is needed.
node_modules() {
    cd "$target"
    npm ci --ignore-scripts --no-audit --no-fund --silent
    # Also of google.rpc, of which nobody publishes any for protobuf-es.
    PATH=$target/node_modules/.bin:$PATH generate "$language" vendor/google/rpc
    node_modules/.bin/tsc
}

build_node() {
    cp "$source"/{package.json,package-lock.json,tsconfig.json,mesh.ts,submit.ts} "$target"
    node_modules
    CA=NODE_EXTRA_CA_CERTS launcher node "$target/dist/submit.js"
}

build_web() {
    cp "$source"/{package.json,package-lock.json,tsconfig.json,page.ts,run.mjs} "$target"
    node_modules
    mkdir page
    node_modules/.bin/esbuild page.ts --bundle --minify --format=esm --target=es2022 --outfile=page/page.js --log-level=warning
    cp "$source/index.html" page
    launcher node "$target/run.mjs"
}

for language in "$@"; do
    case $language in
    python | go | java | node | web) ;;
    *) echo "$0: no client in $language" >&2 && exit 1 ;;
    esac
    source=$here/$language target=$out/$language
    if [ -x "$target/submit" ] && inputs "$language" | cmp --silent - "$target/.inputs"; then
        continue
    fi
    started=$SECONDS
    rm -rf "$target"
    mkdir -p "$target"
    ("build_$language")
    inputs "$language" >"$target/.inputs"
    echo "$target/submit ($((SECONDS - started)) s)"
done
