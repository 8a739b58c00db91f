#!/usr/bin/env python3
"""Writes dashboards/*.json: `make dashboards`; `dashboards.py DIRECTORY` writes them there.

In an expression `@` stands for the chosen job and instance, `@job` for the job alone (model.py).
"""

import json
import pathlib
import sys

sys.dont_write_bytecode = True
from model import dashboard, panel, quantiles


def overview():
    return dashboard(
        "overview",
        "overview",
        "Whether the mesh works, what it does, and what each process has.",
        (
            "Does it work",
            panel("What fires", "short", "Alerts that fire now. RUNBOOK.md says what to do.",
                  ('count by (alertname, severity, job) (ALERTS{alertstate="firing"})', ""), kind="table", width=8),
            panel("Processes", "short", "Processes that Prometheus reads, by role.",
                  ("count by (job) (up == 1)", "{{job}}"), kind="stat", width=8),
            panel("Roles that do their work", "short", "1: at least one process of the role says so at /readyz.",
                  ("max by (role) (hashmesh_ready{@job})", "{{role}}"), kind="stat", width=8),
        ),
        (
            "What it does",
            panel("Tasks", "ops", "Tasks whose batches were committed, and committed outcomes.",
                  ("hashmesh:queue_accepted_tasks:rate5m{@job}", "accepted"),
                  ("hashmesh:queue_recorded_tasks:rate5m{@job}", "{{outcome}}")),
            panel("Oldest ready task", "s", "For how long the oldest task could have been leased. What is paused, for later, or beyond a limit does not count.",
                  ("max(hashmesh_queue_oldest_ready_seconds{@job})", "oldest"),
                  alerts=("OldestTaskWaits",)),
            panel("A task's way", "s", "From the arrival of a batch to the commit of its last outcome.",
                  *quantiles("queue_phase_seconds", '@job, phase="received_to_recorded"', "")),
            panel("Calls", "ops", "Calls and streams that have ended, by role, without health checks.",
                  ("sum by (job) (hashmesh:rpc_server_calls:rate5m{@job})", "{{job}}")),
            panel("Calls that fail", "percentunit", "Of the calls to a role, those that ended with a code that says that the server has failed.",
                  ("hashmesh:rpc_server_errors:ratio_rate5m{@job}", "{{job}}"),
                  alerts=("ErrorRateHigh", "ErrorRateCritical")),
            panel("Slowest methods", "s", "p99 of unary calls. SubmitBatch may wait for its outcomes and is no alert.",
                  ("topk(8, hashmesh:rpc_server_seconds:p99_rate5m{@job} > 0)", "{{job}} {{method}}"),
                  alerts=("LatencyHigh", "LatencyCritical")),
        ),
        (
            "What each process has",
            panel("CPU", "percentunit", "Of the CPUs that the process may use. Workers use what there is while there is work.",
                  ("hashmesh:process_cpu:ratio_rate5m{@}", "{{job}} {{instance}}"),
                  alerts=("ProcessCpuHigh", "ProcessCpuExhausted"), most=1),
            panel("Memory", "percentunit", "Of the memory that the process may have.",
                  ("hashmesh:process_memory:ratio{@}", "{{job}} {{instance}}"),
                  alerts=("ProcessMemoryHigh", "ProcessMemoryExhausted"), most=1),
            panel("Disk", "percentunit", "What is free of the file systems that processes write to.",
                  ("hashmesh:filesystem_free:ratio{@}", "{{instance}} {{directory}}"),
                  alerts=("DiskSpaceLow", "DiskSpaceExhausted"), most=1),
            panel("Open files", "percentunit", "Files and sockets, of those that the process may have open.",
                  ("hashmesh:process_files:ratio{@}", "{{job}} {{instance}}"), alerts=("OpenFilesHigh",), most=1),
            panel("Errors and warnings logged", "short", "Lines within 5 minutes. An error is for whoever runs the mesh, at once.",
                  ('sum by (job, level) (increase(hashmesh_log_lines_total{@, level=~"error|warn"}[5m]))', "{{job}} {{level}}")),
            panel("Certificates", "s", "How long they are valid for.",
                  ("hashmesh_certificate_expiry_seconds{@} - time()", "{{job}} {{instance}} {{certificate}}")),
            panel("Spans", "ops", "Spans that the collector has taken, and that were thrown away.",
                  ("sum by (job) (rate(hashmesh_trace_exported_spans_total{@}[$__rate_interval]))", "{{job}} taken"),
                  ("sum by (job, reason) (rate(hashmesh_trace_dropped_spans_total{@}[$__rate_interval]))", "{{job}} {{reason}}")),
            panel("Versions", "short", "Processes, by the version that runs.",
                  ("count by (job, version) (hashmesh_build_info{@})", "{{job}} {{version}}"), kind="stat"),
            panel("Threads", "short", "Threads of each process.",
                  ("hashmesh_process_threads{@}", "{{job}} {{instance}}")),
        ),
    )


def queue():
    return dashboard(
        "queue",
        "queue",
        "What waits, how long each phase takes, and how leases end.",
        (
            "What waits",
            panel("Tasks in the queue", "short", "Tasks that more workers could work on now, and tasks in the hands of workers.",
                  ("sum(hashmesh_queue_ready_tasks{@})", "ready"), ("sum(hashmesh_queue_leased_tasks{@})", "leased"), stacked=True),
            panel("Oldest ready task", "s", "For how long the oldest task could have been leased. What is paused, for later, or beyond a limit does not count.",
                  ("max by (instance) (hashmesh_queue_oldest_ready_seconds{@})", "{{instance}}"),
                  alerts=("OldestTaskWaits",)),
            panel("Shards", "short", "How many of the 64 shards each process owns.",
                  ("hashmesh_queue_owned_shards{@}", "{{instance}}"), ("sum(increase(hashmesh_queue_takeovers_total{@}[5m]))", "takeovers in 5 minutes")),
            panel("Unfinished submissions", "short", "Submissions that are OPEN or SEALED.",
                  ("sum(hashmesh_queue_unfinished_submissions{@})", "submissions")),
            panel("Payload in memory", "bytes", "Bytes of tasks that are held, and how many there may be.",
                  ("sum by (state) (hashmesh_queue_payload_bytes{@})", "{{state}}")),
            panel("Streams", "short", "Streams of Gateways that write or read submissions.",
                  ("sum by (kind) (hashmesh_queue_streams{@})", "{{kind}}")),
        ),
        (
            "How fast",
            panel("Tasks in and out", "ops", "Tasks of committed batches, and committed outcomes.",
                  ("hashmesh:queue_accepted_tasks:rate5m{@job}", "accepted"),
                  ("hashmesh:queue_recorded_tasks:rate5m{@job}", "{{outcome}}")),
            panel("Phases, p50", "s", "received → committed → leased → done → recorded. Each batch or lease counts once.",
                  ("hashmesh:queue_phase_seconds:p50_rate5m{@job}", "{{phase}}")),
            panel("Phases, p99", "s", "received → committed → leased → done → recorded. Each batch or lease counts once.",
                  ("hashmesh:queue_phase_seconds:p99_rate5m{@job}", "{{phase}}")),
        ),
        (
            "What goes wrong",
            panel("Failed and repeated", "percentunit", "Of the outcomes, those that are failures; of the attempts, those that are made again.",
                  ("hashmesh:queue_failed_tasks:ratio_rate5m{@job}", "failed"),
                  ("hashmesh:queue_retried_tasks:ratio_rate5m{@job}", "repeated"), alerts=("DeadLettersRise", "RetriesStorm")),
            panel("How leases end", "ops", "With outcomes, given back (nack), or taken: worker gone, silent, or standing still.",
                  ("sum by (reason) (rate(hashmesh_queue_ended_leases_total{@}[$__rate_interval]))", "{{reason}}"), stacked=True),
            panel("Lease slack", "s", "What one lease of twenty has left when its outcomes come. A lease is 5 s.",
                  ("hashmesh:queue_lease_slack_seconds:p05_rate5m{@job}", "p5"), alerts=("LeaseSlackLow",)),
            panel("Refused outcomes and strikes", "short", "Within 5 minutes: outcomes of leases that no longer held, and ranges whose worker was lost.",
                  ("sum(increase(hashmesh_queue_refused_tasks_total{@}[5m]))", "refused outcomes"),
                  ("sum(increase(hashmesh_queue_strikes_total{@}[5m]))", "strikes")),
            panel("Schedules", "short", "Runs within an hour.",
                  ("sum by (result) (increase(hashmesh_queue_schedule_runs_total{@}[1h]))", "{{result}}")),
        ),
    )


def workers():
    return dashboard(
        "workers",
        "workers",
        "How busy those are that hash, what they read, and what they cannot.",
        (
            "How busy",
            panel("Workers", "short", "Workers that are connected to the Queues, their threads, and the leases that they hold.",
                  ("max(hashmesh_queue_workers)", "workers"), ("max(hashmesh_queue_worker_slots)", "threads"),
                  ("sum(hashmesh_queue_leases)", "leases")),
            panel("Busy threads", "percentunit", "Of the time of the threads that hash, and of those that read and hash files.",
                  ("hashmesh:worker_busy:ratio_rate5m{@}", "{{instance}} {{pool}}"), alerts=("WorkersSaturated",), most=1),
            panel("Groups that wait", "short", "Groups of tasks that wait for a thread or a connection.",
                  ("sum by (pool) (hashmesh_worker_waiting_groups{@})", "{{pool}}"), stacked=True),
            panel("Leases and Queues", "short", "Leases that each worker holds, and Queues that can lease to it.",
                  ("hashmesh_worker_leases{@}", "{{instance}} leases"), ("hashmesh_worker_queue_streams{@}", "{{instance}} Queues")),
            panel("Leases that ended", "ops", "Done, given back, or taken by the Queue.",
                  ("sum by (result) (rate(hashmesh_worker_ended_leases_total{@}[$__rate_interval]))", "{{result}}")),
            panel("Time of a lease", "s", "From its arrival to its last outcome.",
                  ("histogram_quantile(0.50, sum by (le) (rate(hashmesh_worker_lease_seconds_bucket{@}[$__rate_interval])))", "p50"),
                  ("histogram_quantile(0.99, sum by (le) (rate(hashmesh_worker_lease_seconds_bucket{@}[$__rate_interval])))", "p99")),
        ),
        (
            "What they read",
            panel("Hashed", "Bps", "Bytes, each counted once however many digests are computed of it.",
                  ("hashmesh:worker_hashed_bytes:rate5m{@job}", "{{job}}")),
            panel("Tasks", "ops", "Tasks whose outcomes were sent to a Queue.",
                  ("sum by (outcome) (rate(hashmesh_worker_tasks_total{@}[$__rate_interval]))", "{{outcome}}"), stacked=True),
            panel("What cannot be read", "ops", "Attempts that failed, by the reason that the task gets.",
                  ("sum by (reason) (rate(hashmesh_worker_read_failures_total{@}[$__rate_interval]))", "{{reason}}")),
            panel("Answers of hosts", "ops", "Requests to hosts of objects, by the class of what they answered.",
                  ("sum by (answer) (rate(hashmesh_worker_source_requests_total{@}[$__rate_interval]))", "{{answer}}")),
            panel("Known by the cache", "ops", "Objects that the cache was asked for.",
                  ("sum by (result) (rate(hashmesh_worker_cache_objects_total{@}[$__rate_interval]))", "{{result}}")),
            panel("Not read", "Bps", "Bytes that were not read because the cache knew the digest.",
                  ("sum(rate(hashmesh_worker_cache_saved_bytes_total{@}[$__rate_interval]))", "saved")),
        ),
        (
            "Hash, for synchronous digests",
            panel("Busy threads", "percentunit", "Of the time of the threads that hash for ComputeDigest.",
                  ("hashmesh:hash_busy:ratio_rate5m{@}", "{{instance}}"), most=1),
            panel("Inputs", "ops", "Hashed, and brought by another call already, to Hash or to the Gateway.",
                  ("sum by (result) (rate(hashmesh_hash_inputs_total{@}[$__rate_interval]))", "{{result}}"),
                  ("sum(rate(hashmesh_gateway_coalesced_digests_total{@}[$__rate_interval]))", "joined in a Gateway")),
            panel("Bytes", "Bps", "Bytes that Hash has hashed.",
                  ("sum(rate(hashmesh_hash_bytes_total{@}[$__rate_interval]))", "hashed")),
            panel("Callers that wait, calls that are refused", "short", "For want of a thread.",
                  ("sum(hashmesh_hash_waiting_callers{@})", "wait"),
                  ("sum(rate(hashmesh_hash_shed_calls_total{@}[$__rate_interval]))", "refused a second")),
        ),
    )


def gateway():
    return dashboard(
        "gateway",
        "gateway",
        "What clients bring, what they get, and what is refused; and Envoy in front.",
        (
            "Calls",
            panel("Calls by method", "ops", "Calls and streams that have ended.",
                  ("sum by (method) (hashmesh:rpc_server_calls:rate5m{@job})", "{{method}}")),
            panel("Calls that fail, by method", "percentunit", "Those that ended with a code that says that the server has failed.",
                  ("hashmesh:rpc_server_errors_by_method:ratio_rate5m{@job} > 0", "{{method}}"), alerts=("ErrorRateHigh", "ErrorRateCritical")),
            panel("p99 by method", "s", "Of unary calls, from the request's head to the last byte of the answer.",
                  ("hashmesh:rpc_server_seconds:p99_rate5m{@job}", "{{method}}"), alerts=("LatencyHigh", "LatencyCritical")),
            panel("Codes", "ops", "Calls that did not end with OK.",
                  ('sum by (code) (hashmesh:rpc_server_calls:rate5m{@job, code!="OK"})', "{{code}}")),
            panel("Reasons", "ops", "Calls that ended with one of our errors, by its reason.",
                  ("sum by (reason) (rate(hashmesh_rpc_server_errors_total{@}[$__rate_interval])) > 0", "{{reason}}")),
            panel("Open calls, streams and connections", "short", "What is under way.",
                  ("sum by (kind) (hashmesh_rpc_server_open_calls{@})", "{{kind}}"),
                  ("sum(hashmesh_rpc_server_connections{@})", "connections")),
        ),
        (
            "What clients bring and get",
            panel("Streams", "short", "Streams of clients that are open.",
                  ("sum by (kind) (hashmesh_gateway_streams{@})", "{{kind}}"), stacked=True),
            panel("Tasks and outcomes", "ops", "Tasks that were passed on, outcomes that were sent.",
                  ("sum(rate(hashmesh_gateway_tasks_total{@}[$__rate_interval]))", "tasks"),
                  ("sum(rate(hashmesh_gateway_outcomes_total{@}[$__rate_interval]))", "outcomes")),
            panel("Batches", "ops", "Passed on, and refused.",
                  ("sum by (result) (rate(hashmesh_gateway_batches_total{@}[$__rate_interval]))", "{{result}}")),
            panel("Bytes", "Bps", "Of tasks that were passed on, and of uploads that were stored.",
                  ("sum(rate(hashmesh_gateway_task_bytes_total{@}[$__rate_interval]))", "tasks"),
                  ("sum(rate(hashmesh_gateway_uploaded_bytes_total{@}[$__rate_interval]))", "uploads")),
            panel("Streams that we ended", "ops", "In order: because of their age, because the Gateway stops, or because nobody was there.",
                  ("sum by (reason) (rate(hashmesh_gateway_ended_streams_total{@}[$__rate_interval]))", "{{reason}}")),
        ),
        (
            "What is refused",
            panel("Limits", "ops", "Calls that a rate limit has decided on, by whose limit it was.",
                  ("sum by (limit, decision) (rate(hashmesh_gateway_limit_decisions_total{@}[$__rate_interval]))", "{{limit}} {{decision}}")),
            panel("Counted alone", "percentunit", "Of the calls with a limit, those that this Gateway counted by itself.",
                  ("hashmesh:gateway_limits_counted_here:ratio_rate5m{@job}", "{{job}}"), alerts=("LimitsCountedAlone",), most=1),
            panel("Shed", "ops", "Calls and streams that were refused at once because there were too many.",
                  ("sum by (kind) (rate(hashmesh_gateway_shed_calls_total{@}[$__rate_interval]))", "{{kind}}")),
            panel("Places", "short", "For unary calls: how many are taken of how many there are now.",
                  ("sum by (state) (hashmesh_gateway_call_places{@})", "{{state}}")),
            panel("Refused callers", "ops", "For want of a valid key or of a scope.",
                  ("sum by (reason) (rate(hashmesh_gateway_refused_callers_total{@}[$__rate_interval]))", "{{reason}}")),
        ),
        (
            "To the services behind, and Envoy in front",
            panel("Breakers", "short", "0 closed, 1 half-open, 2 open: calls are refused.",
                  ("hashmesh_breaker_state{@}", "{{instance}} → {{breaker}}"), alerts=("BreakerOpen",)),
            panel("Opened, and calls refused", "short", "Within 5 minutes: how often a breaker has opened, and how many calls it refused.",
                  ("sum by (breaker) (increase(hashmesh_breaker_opened_total{@}[5m])) > 0", "{{breaker}} opened"),
                  ("sum by (breaker) (increase(hashmesh_breaker_refused_calls_total{@}[5m])) > 0", "{{breaker}} refused")),
            panel("Calls that fail", "percentunit", "Of the calls to other services.",
                  ("hashmesh:rpc_client_errors:ratio_rate5m{@job}", "{{job}} → {{service}}")),
            panel("p99", "s", "Of unary calls to other services.",
                  ("hashmesh:rpc_client_seconds:p99_rate5m{@job}", "{{job}} → {{service}}")),
            panel("Calls that were made again", "ops", "Reads and what changes nothing, within their budget.",
                  ("sum by (job, service) (rate(hashmesh_rpc_client_retries_total{@}[$__rate_interval]))", "{{job}} → {{service}}")),
            panel("Gateways that Envoy knows", "short", "All, and those that are healthy.",
                  ('sum by (instance) (envoy_cluster_membership_total{envoy_cluster_name="gateway"})', "{{instance}} all"),
                  ('sum by (instance) (envoy_cluster_membership_healthy{envoy_cluster_name="gateway"})', "{{instance}} healthy")),
            panel("What Envoy passes on", "ops", "Requests to Gateways, by the class of HTTP status.",
                  ('sum by (envoy_response_code_class) (rate(envoy_cluster_upstream_rq_xx{envoy_cluster_name="gateway"}[$__rate_interval]))',
                   "{{envoy_response_code_class}}xx")),
        ),
    )


def postgres():
    return dashboard(
        "postgres",
        "Postgres",
        "The way to it, its commits, and what it writes.",
        (
            "The pool",
            panel("Reachable", "short", "0: the last attempt failed. Of an `up` with several pools it is their number.",
                  ("hashmesh_db_up{@}", "{{job}} {{instance}}")),
            panel("Connections in use", "percentunit", "Of those that a pool may have.",
                  ("hashmesh:db_pool_used:ratio{@}", "{{job}} {{instance}}"), alerts=("PoolNearlyExhausted",), most=1),
            panel("Callers that wait", "short", "For a connection. Somebody waits for minutes: PoolExhausted.",
                  ("hashmesh_db_pool_waiting_callers{@}", "{{job}} {{instance}}"), alerts=("PoolExhausted",)),
            panel("Time that callers wait", "s", "On average, those that need not wait included.",
                  ("hashmesh:db_pool_wait_seconds:mean_rate5m{@}", "{{job}} {{instance}}")),
            panel("Callers", "ops", "Who got a connection, at once or after a wait, and who did not.",
                  ("sum by (result) (rate(hashmesh_db_pool_callers_total{@}[$__rate_interval]))", "{{result}}")),
            panel("Connections opened, and closed as broken", "short", "Within 5 minutes.",
                  ("sum by (job) (increase(hashmesh_db_pool_opened_connections_total{@}[5m]))", "{{job}} opened"),
                  ("sum by (job) (increase(hashmesh_db_pool_broken_connections_total{@}[5m]))", "{{job}} broken")),
        ),
        (
            "Commits of the queue",
            panel("Time of a commit", "s", "Of transactions of the commit lanes.",
                  *quantiles("queue_commit_seconds", "@job", ""), alerts=("CommitSlow",)),
            panel("Commits", "ops", "Transactions of the commit lanes, and what failed of them.",
                  ("sum(rate(hashmesh_queue_commit_seconds_count{@}[$__rate_interval]))", "commits"),
                  ("sum by (what) (rate(hashmesh_queue_commit_failures_total{@}[$__rate_interval]))", "failed: {{what}}")),
            panel("Units in a commit", "short", "Batches, outcomes of a lease and seals that share one: more under load.",
                  ("sum(rate(hashmesh_queue_commit_units_sum{@}[$__rate_interval])) / sum(rate(hashmesh_queue_commit_units_count{@}[$__rate_interval]))", "mean")),
            panel("Bytes in a commit", "bytes", "Payload and outcomes.",
                  ("sum(rate(hashmesh_queue_commit_bytes_sum{@}[$__rate_interval])) / sum(rate(hashmesh_queue_commit_bytes_count{@}[$__rate_interval]))", "mean")),
            panel("Write-ahead log", "Bps", "What Postgres writes, whoever makes it.",
                  ("hashmesh:queue_postgres_wal_bytes:rate5m{@job}", "{{job}}")),
            panel("Write-ahead log of a task", "bytes", "Of everything that Postgres writes, by the tasks that were accepted.",
                  ("hashmesh:queue_postgres_wal_bytes_per_task:ratio_rate5m{@job}", "{{job}}")),
        ),
        (
            "Replicas and partitions",
            panel("Replica lag", "s", "How far each is behind.",
                  ("max by (replica) (hashmesh_queue_replica_lag_seconds{@})", "{{replica}}"), alerts=("ReplicaLags",)),
            panel("Replicas that answer reads", "short", "1: it does.", ("max by (replica) (hashmesh_queue_replica_used{@})", "{{replica}}")),
            panel("Days ahead", "short", "Days for which partitions exist. 7 are made.",
                  ("max by (job) (hashmesh_queue_partitions_ahead{@})", "{{job}}"), alerts=("PartitionsNotMade",)),
            panel("DEFAULT partition", "short", "1: rows went to it, which is for emergencies.",
                  ("max by (job) (hashmesh_queue_default_partition_used{@})", "{{job}}"), alerts=("DefaultPartitionUsed",), kind="stat"),
        ),
    )


def cache():
    return dashboard(
        "cache",
        "cache",
        "Whether digests are known, what that saves, and Redis.",
        (
            "What it saves",
            panel("Hits", "percentunit", "Digests that were known, of those that were asked for.",
                  ("hashmesh:cache_hits:ratio_rate5m{@job}", "{{job}}"), most=1),
            panel("Where digests were found", "ops", "In memory, in Redis, in Postgres, or nowhere.",
                  ("hashmesh:cache_lookups:rate5m{@job}", "{{result}}"), stacked=True),
            panel("Bytes that were not read", "Bps", "Because a digest was known.",
                  ("sum(rate(hashmesh_cache_saved_bytes_total{@}[$__rate_interval]))", "saved")),
            panel("Objects", "ops", "Whose digests were used, and those that turned out to have changed.",
                  ("sum by (result) (rate(hashmesh_cache_objects_total{@}[$__rate_interval]))", "{{result}}")),
            panel("Questions that were joined", "ops", "Answered by what another asked for at the same time.",
                  ("sum(rate(hashmesh_cache_joined_requests_total{@}[$__rate_interval]))", "joined")),
            panel("Entries", "ops", "Put, refreshed early, warmed, and deleted.",
                  ("sum by (change) (rate(hashmesh_cache_entry_changes_total{@}[$__rate_interval]))", "{{change}}")),
        ),
        (
            "Its stores",
            panel("Redis answers", "short", "0: it does not. Nothing where there is none.",
                  ("hashmesh_cache_redis_up{@}", "{{instance}} {{redis}}")),
            panel("Failed calls to stores", "ops", "Or such that came too late: it goes on without them.",
                  ("sum by (store) (rate(hashmesh_cache_store_failures_total{@}[$__rate_interval]))", "{{store}}")),
            panel("Rejected values", "short", "Within 15 minutes: not ours, not the object's, or not whole. None is believed.",
                  ("sum by (job) (increase(hashmesh_cache_rejected_values_total{@}[15m]))", "{{job}}"), alerts=("CacheValuesRejected",)),
            panel("Memory", "bytes", "Bytes of entries in memory, and how many there may be.",
                  ("sum by (state) (hashmesh_cache_memory_bytes{@})", "{{state}}")),
            panel("Entries in memory", "short", "Of all Cache services.",
                  ("sum by (instance) (hashmesh_cache_memory_entries{@})", "{{instance}}")),
            panel("Rate limits that it counts", "ops", "Calls that Gateways and Envoy have it decide on.",
                  ("sum by (decision) (rate(hashmesh_cache_quota_decisions_total{@}[$__rate_interval]))", "{{decision}}")),
        ),
    )


def main():
    here = pathlib.Path(__file__).resolve().parent
    directory = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else here / "dashboards"
    directory.mkdir(parents=True, exist_ok=True)
    written = set()
    for one in [overview(), queue(), workers(), gateway(), postgres(), cache()]:
        path = directory / f"{one['uid'].removeprefix('hashmesh-')}.json"
        path.write_text(json.dumps(one, indent=2, ensure_ascii=False) + "\n")
        written.add(path)
    for stale in set(directory.glob("*.json")) - written:
        stale.unlink()


if __name__ == "__main__":
    main()
