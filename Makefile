# make setup      what building, testing and linting need (Debian as root; elsewhere it names what is missing)
# make run        digest INPUT through a whole mesh, and have sha256sum check the manifest
# make up         a whole mesh that stays, on 127.0.0.1:7420
# make test       every test, the long ones in a short version
# make test-all   every test in full
# make faults     every fault of tests/faults in full: killed, stopped, cut off, out of disk, told the wrong time; FAULT_SEED repeats one
# make upgrade-test  this version beside an earlier one (OLDER=REVISION; default: before the newest migration), replaced in both directions
# make evidence   simulation, mutants, faults, rolling restarts and upgrades for EVIDENCE_TIME from EVIDENCE_SEED on, in one report
# make clients    the reference clients of examples/clients, each built with its language's tools
# make metrics     observability/METRICS.md, from the program's catalogue
# make envoy      what Envoy is given, from envoy/source and the protos
# make dashboards what Grafana is given, from observability/grafana/*.py
# make rules      Prometheus' configuration and rules: checked and tested
# make lint       formatting, clippy, protos, shell, rules
# make compose-test  compose.yaml with GATEWAYS and WORKERS (10, 50): COMPOSE_TASKS files by Envoy, three containers killed, networks tried
# make bench      tasks per second, latency, WAL, CPU, in BENCH_MODES (default: all); fails if the first is below BENCH_MINIMUM
# make bench-backlog  a backlog that no worker works on, the Queue restarted with it, urgent tasks while it drains
# make bench-tenants  what a tenant with BENCH_TASKS tasks costs one with single tasks; fails if its p99 is more than 3 times as long
# make bench-objects   OBJECTS small objects in an S3 store, and one of OBJECT_GIB GiB as a file and over HTTP, three digests each
# make bench-cached  CACHED_OBJECTS objects of CACHED_BYTES bytes digested again: fails if what has not changed is read, or S3 is not 20 times as fast
# make bench-cache  latency of the Cache service, and what becomes of it while its Redis is emptied, stopped, killed; fails where that shows
# make overload   goodput and latency at 0.5 to 10 times what OVERLOAD_PLACES concurrent calls can do; fails where they suffer
# make load       PROFILES (default: all) of calls, streams and connections over Envoy; fails below the floors
# make bench-linear  tasks per second with LINEAR_SIZES tasks in the tables; fails if they differ by more than 15 %
# make bench-pinned  tasks per second for PINNED_SECONDS, and as long with xmin pinned, PINNED_ROUNDS times; fails below 95 %
# make bench-traces  tasks per second without a collector, with 1 % of the traces sent, and with a collector that is stopped; fails if a task takes 3 % more CPU time
# make bench-owners  tasks per second with one, two and three Queue processes; fails if two or three reach less than 90 % of one
# make emulate-avx512  the tests of the hash kernels on an emulated processor that has AVX-512 (Debian, root; up to an hour)
# make bench-hash  SHA-256 and SHA-512 of many inputs on one core, ours beside sha2, ring and OpenSSL (BENCH_HASH_FEATURES=aws-lc-rs: that too)
# make bench-share  what the digests are of all that a task of 64 B, 1 KiB and 16 KiB costs, by `sha2` alone and by the kernels chosen
# make bench-attack  an honest client's p99 beside each attack by HTTP/2 frames; fails above 1.5 times its p99 alone
# make bench-trees  hashmesh sum and submit beside sha256sum, openssl, hashdeep and b3sum: TREE_FILES small files and TREE_LARGE of TREE_MIB MiB below TREE_DIR
# make bench-reading  read, openat, mmap, io_uring and O_DIRECT on such a tree, from the page cache and from the disk, with SHA-256 behind each
# make bench-peers  hashmesh beside other queues (PEERS; default: all) on one Postgres; fails below RELATIVE_MINIMUMS

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c

# What `make run` digests: a real tree that every machine has that built this, of some ten thousand files.
INPUT ?= $(or $(CARGO_HOME),$(HOME)/.cargo)/registry/src
BENCH_TASKS ?= 10000000
COMPOSE_TASKS ?= 100000
CACHED_OBJECTS ?= 100000
CACHED_BYTES ?= 1048576
CACHE_SECONDS ?= 10
BENCH_MODES ?=
TRACES_ROUNDS ?= 5
OWNERS_ROUNDS ?= 5
OWNERS_TASKS ?= 3000000
BENCH_MINIMUM ?= 500000
LINEAR_SIZES ?= 1000000 10000000 100000000
PINNED_SECONDS ?= 60
PINNED_ROUNDS ?= 4
OVERLOAD_PLACES ?= 2
OBJECTS ?= 100000
OBJECT_GIB ?= 20
OVERLOAD_SECONDS ?= 10
SHARE_BYTES ?= 100000000
SHARE_ROUNDS ?= 3
TREE_DIR ?= target/run
TREE_FILES ?= 200000
TREE_ROUNDS ?= 5
TREE_LARGE ?= 8
TREE_MIB ?= 256
PEERS ?=
EVIDENCE_TIME ?= 10m
EVIDENCE_SEED ?= 1
FAULT_SEED ?=
OLDER ?=
CLIENTS ?= python go java node web

# smoke load stress soak spike streams cap connections; how long and how much: LOAD_… of tests/tools/load.sh.
PROFILES ?= all

TOOLS ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/hashmesh/tools
export PATH := $(TOOLS)/bin:$(PATH)

HASHMESH := $(or $(CARGO_TARGET_DIR),target)/release/hashmesh
SCRIPTS := .ci/run $(wildcard tests/tools/*.sh tests/bench/*.sh tests/bench/peers/*.sh tests/compose/*.sh deploy/*.sh deploy/*/*.sh examples/clients/*.sh)

.PHONY: run up test test-all faults upgrade-test evidence compose-test load lint emulate-avx512 bench bench-attack bench-backlog bench-tenants bench-linear bench-pinned bench-objects bench-cached bench-cache bench-hash bench-owners bench-peers bench-reading bench-share bench-traces bench-trees overload clients envoy metrics dashboards rules setup release require-tools


run: release
	@tests/tools/run.sh $(HASHMESH) '$(INPUT)'

up: release
	@exec $(HASHMESH) up

release:
	cargo build --release --locked --package hashmesh-cli

# The broken variants are compiled into what is tested, never into a release.
TESTED := --workspace --locked --features hashmesh-cli/mutants

test: setup clients
	cargo test $(TESTED) --no-fail-fast

test-all: setup clients
	HASHMESH_TEST_LONG=1 cargo test $(TESTED) --no-fail-fast
	$(MAKE) faults
	$(MAKE) upgrade-test

# The files of the suite by the names of their tests; "faults::" alone would find others' too.
FAULTS := $(patsubst tests/faults/%.rs,faults::%::,$(wildcard tests/faults/*.rs))

faults: setup
	$(if $(FAULT_SEED),HASHMESH_FAULT_SEED=$(FAULT_SEED)) HASHMESH_TEST_LONG=1 cargo test $(TESTED) --test integration -- --include-ignored --nocapture $(FAULTS)

upgrade-test: setup
	@tests/tools/upgrade.sh $(or $(CARGO_TARGET_DIR),target)/older '$(OLDER)' cargo test $(TESTED) --test integration -- --ignored --nocapture upgrade::

evidence: setup release
	@OLDER='$(OLDER)' tests/tools/evidence.sh $(HASHMESH) $(EVIDENCE_TIME) $(EVIDENCE_SEED) $(or $(CARGO_TARGET_DIR),target)/evidence.md

clients: setup
	@PATH="$(TOOLS)/bin:$$PATH" examples/clients/build.sh $(or $(CARGO_TARGET_DIR),target)/clients $(CLIENTS)

envoy: setup
	@tests/tools/envoy.sh

metrics:
	cargo run --quiet --locked --package hashmesh-cli -- explain metrics >observability/METRICS.md

dashboards:
	@observability/grafana/dashboards.py

rules:
	promtool check config observability/prometheus/prometheus.yml observability/prometheus/up.yml
	promtool check rules observability/prometheus/rules.yaml
	promtool test rules observability/prometheus/rules.test.yaml

compose-test: release
	@tests/compose/run.sh $(HASHMESH) $(COMPOSE_TASKS)

lint: require-tools rules
	cargo fmt --all -- --check
	cargo clippy $(TESTED) --all-targets -- -D warnings
	cargo clippy --workspace --locked -- -D warnings
	buf lint proto
	shellcheck --external-sources $(SCRIPTS)

bench: release
	@tests/tools/bench.sh $(HASHMESH) $(BENCH_TASKS) $(BENCH_MINIMUM) $(BENCH_MODES)

bench-backlog: release
	@tests/tools/backlog.sh $(HASHMESH) $(BENCH_TASKS)

bench-tenants: release
	cargo build --release --locked --package hashmesh-cli --example tenants
	@tests/tools/tenants.sh $(HASHMESH) $(BENCH_TASKS)

bench-linear: release
	@tests/tools/linear.sh $(HASHMESH) $(LINEAR_SIZES)

bench-pinned: release
	@tests/tools/pinned.sh $(HASHMESH) $(PINNED_SECONDS) $(PINNED_ROUNDS)

bench-traces: release setup
	@tests/tools/traces.sh $(HASHMESH) $(BENCH_TASKS) $(TRACES_ROUNDS)

bench-owners: release
	@tests/tools/owners.sh $(HASHMESH) $(OWNERS_TASKS) $(OWNERS_ROUNDS)

# The unit tests of the kernels, in an optimized build: an emulated processor is slow.
emulate-avx512:
	@tests=$$(cargo test --release --locked --package hashmesh-hash --lib --no-run --message-format json | \
		jq --raw-output 'select(.reason == "compiler-artifact" and .profile.test).executable // empty') && \
	tests/tools/avx512.sh "$$tests" $(or $(CARGO_TARGET_DIR),target)/avx512

bench-hash:
	@tests/tools/hash.sh $(BENCH_HASH_ROUNDS)

bench-attack: setup
	cargo test $(TESTED) --test integration -- --ignored --nocapture attack::latency

bench-peers: release
	@tests/bench/peers/run.sh $(HASHMESH) $(PEERS)

bench-trees: release
	@tests/bench/trees.sh $(HASHMESH) '$(TREE_DIR)' $(TREE_FILES) $(TREE_ROUNDS) $(TREE_LARGE) $(TREE_MIB)

bench-share: release
	@tests/tools/share.sh $(HASHMESH) $(SHARE_BYTES) $(SHARE_ROUNDS)

bench-reading:
	@tests/bench/reading.sh '$(TREE_DIR)' $(TREE_FILES) $(TREE_ROUNDS) $(TREE_LARGE) $(TREE_MIB)

bench-objects: release setup
	@tests/tools/objects.sh $(HASHMESH) $(OBJECTS) $(OBJECT_GIB)

bench-cached: release setup
	@tests/tools/cached.sh $(HASHMESH) $(CACHED_OBJECTS) $(CACHED_BYTES)

bench-cache: release
	cargo build --release --locked --package hashmesh-cli --example cache
	@tests/tools/cache.sh $(HASHMESH) $(CACHE_SECONDS)

load: release setup
	cargo build --release --locked --package hashmesh-cli --example load
	@tests/tools/load.sh $(HASHMESH) $(PROFILES)

overload: release
	cargo build --release --locked --package hashmesh-cli --example overload
	@tests/tools/overload.sh $(HASHMESH) $(OVERLOAD_PLACES) $(OVERLOAD_SECONDS)

setup:
	@tests/tools/setup.sh '$(TOOLS)'

require-tools:
	@for tool in buf grpcurl psql curl jq shellcheck sha256sum promtool; do \
	    command -v "$$tool" >/dev/null || { echo "$$tool is missing: run make setup" >&2; exit 1; }; \
	done
