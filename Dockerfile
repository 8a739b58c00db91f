# The image of all roles: one program, no shell, no package manager, not root. `docker build .`, or `docker compose build`.
#
# BINARY is where the program comes from: the stage `build`, or an image with it in /out, as that stage has it (CI builds once; so does
# `make compose-test`, on machines without a registry).
ARG BINARY=build

FROM rust:1.95-bookworm AS build
WORKDIR /src
COPY . .
# What was compiled stays with the builder and not in a layer: the next build compiles what has changed.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --release --locked --package hashmesh-cli --bin hashmesh \
    && mkdir -p /out/uploads && strip --strip-debug --preserve-dates -o /out/hashmesh target/release/hashmesh

FROM ${BINARY} AS binary

# Debian's libc and libgcc, certificates of public authorities, a user 65532: that is all.
FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=binary /out/hashmesh /usr/local/bin/hashmesh
# Empty: a volume that is mounted here for the first time belongs to us.
COPY --from=binary --chown=65532:65532 /out/uploads /var/lib/hashmesh/uploads
USER 65532:65532
ENTRYPOINT ["/usr/local/bin/hashmesh"]
