//! `hashmesh stats`: what the mesh is doing now.

use std::fmt::Write as _;

use clap::Args;
use hashmesh::{
    gateway::v1::GetStatsResponse,
    v1::{CacheStats, PhaseStats, QueueProcessStats, ReplicaStats, WorkerStats},
};
use serde_json::{Value, json};

use super::{
    failure::{self, Failure},
    name::display,
    output::{Format, write_document, write_text},
    server::ServerArgs,
};

/// Show what the mesh is doing now: the queue, its workers, its database, its cache.
#[derive(Args, Debug)]
pub(crate) struct StatsArgs {
    /// Lines for people, one document, or one line.
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t)]
    output: Format,
    #[command(flatten)]
    server: ServerArgs,
}

impl StatsArgs {
    pub(super) async fn run(self) -> Result<u8, Failure> {
        let stats = json(&self.server.client()?.get_stats().await?);
        match self.output {
            Format::Text => write_text(&text(&stats)).await?,
            format => write_document(format, &stats).await?,
        }
        Ok(failure::OK)
    }
}

/// What the mesh answered, as a document.
pub(super) fn json(stats: &GetStatsResponse) -> Value {
    let queue = stats.queue.clone().unwrap_or_default();
    let database = stats.database.clone().unwrap_or_default();
    let storage = stats.storage.unwrap_or_default();
    json!({
        "queue": {
            "unfinished_submissions": queue.unfinished_submissions,
            "ready_tasks": queue.ready_tasks,
            "leased_tasks": queue.leased_tasks,
            "oldest_ready_ms": queue.oldest_ready_ms,
            "accepted_tasks": queue.accepted_tasks,
            "recorded_tasks": queue.recorded_tasks,
            "refused_tasks": queue.refused_tasks,
            "retried_tasks": queue.retried_tasks,
            "rescued_leases": queue.rescued_leases,
            "commits": queue.commits,
            "accepted_tasks_per_second": queue.accepted_tasks_per_second,
            "recorded_tasks_per_second": queue.recorded_tasks_per_second,
            "payload_bytes": queue.payload_bytes,
            "phases": queue.phases.iter().map(phase).collect::<Vec<_>>(),
            "workers": queue.workers.iter().map(worker).collect::<Vec<_>>(),
        },
        "queue_processes": stats.queue_processes.iter().map(queue_process).collect::<Vec<_>>(),
        "storage": {
            "day_partitions": storage.day_partitions,
            "days_ahead": storage.days_ahead,
            "default_partition_used": storage.default_partition_used,
            "expired_submissions": storage.expired_submissions,
            "dropped_partitions": storage.dropped_partitions,
            "idle_cancelled_submissions": storage.idle_cancelled_submissions,
        },
        "database": {
            "pool_connections": database.pool_connections,
            "pool_idle": database.pool_idle,
            "pool_max": database.pool_max,
            "wal_bytes": database.wal_bytes,
            "server_version": database.server_version,
            "primary_reads": database.primary_reads,
            "replicas": database.replicas.iter().map(replica).collect::<Vec<_>>(),
        },
        "gateway_streams": stats.gateway_streams,
        "coalesced_digests": stats.coalesced_digests,
        "cache": stats.cache.as_ref().map(cache),
    })
}

/// What the cache has done, and holds.
pub(super) fn cache(stats: &CacheStats) -> Value {
    json!({
        "memory_hits": stats.memory_hits,
        "redis_hits": stats.redis_hits,
        "postgres_hits": stats.postgres_hits,
        "misses": stats.misses,
        "taken_objects": stats.taken_objects,
        "changed_objects": stats.changed_objects,
        "saved_bytes": stats.saved_bytes,
        "put_entries": stats.put_entries,
        "evicted_entries": stats.evicted_entries,
        "invalidated_entries": stats.invalidated_entries,
        "rejected_values": stats.rejected_values,
        "joined_requests": stats.joined_requests,
        "early_refreshes": stats.early_refreshes,
        "warmed_entries": stats.warmed_entries,
        "expired_entries": stats.expired_entries,
        "redis_failures": stats.redis_failures,
        "postgres_failures": stats.postgres_failures,
        "memory_entries": stats.memory_entries,
        "memory_bytes": stats.memory_bytes,
    })
}

fn queue_process(process: &QueueProcessStats) -> Value {
    json!({
        "process_id": process.process_id,
        "address": process.address,
        "shards": process.shards,
        "answered": process.answered,
        "unfinished_submissions": process.unfinished_submissions,
        "ready_tasks": process.ready_tasks,
        "leased_tasks": process.leased_tasks,
        "recorded_tasks_per_second": process.recorded_tasks_per_second,
    })
}

fn replica(replica: &ReplicaStats) -> Value {
    let state = replica.state().as_str_name().trim_start_matches("REPLICA_STATE_").to_ascii_lowercase();
    json!({
        "address": replica.address,
        "state": state,
        "lag_ms": replica.lag_ms,
        "reads": replica.reads,
        "fallbacks": replica.fallbacks,
        "problem": replica.problem,
    })
}

fn phase(stats: &PhaseStats) -> Value {
    let phase = stats.phase().as_str_name().trim_start_matches("PHASE_").to_ascii_lowercase();
    json!({
        "phase": phase,
        "tasks": stats.tasks,
        "min_micros": stats.min_micros,
        "p50_micros": stats.p50_micros,
        "p95_micros": stats.p95_micros,
        "p99_micros": stats.p99_micros,
        "max_micros": stats.max_micros,
    })
}

fn worker(worker: &WorkerStats) -> Value {
    json!({
        "worker_id": worker.worker_id,
        "slots": worker.slots,
        "leases": worker.leases,
        "leased_tasks": worker.leased_tasks,
        "recorded_tasks": worker.recorded_tasks,
        "recorded_tasks_per_second": worker.recorded_tasks_per_second,
        "connected_ms": worker.connected_ms,
        "draining": worker.draining,
        "sources": worker.sources.iter().map(|source| &source.uri_prefix).collect::<Vec<_>>(),
    })
}

/// The same as lines `queue.ready_tasks: 0`.
pub(super) fn text(stats: &Value) -> String {
    let mut lines = String::new();
    put("", stats, &mut lines);
    lines
}

fn put(path: &str, value: &Value, lines: &mut String) {
    let below = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
    match value {
        Value::Object(object) => object.iter().for_each(|(key, value)| put(&below(key), value, lines)),
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(index, value)| put(&format!("{path}[{index}]"), value, lines));
        }
        Value::String(text) => {
            // Writing to a string does not fail.
            let _ = writeln!(lines, "{path}: {}", display(text.as_bytes()));
        }
        Value::Number(number) if number.is_f64() => {
            let _ = writeln!(lines, "{path}: {:.1}", number.as_f64().unwrap_or_default());
        }
        other => {
            let _ = writeln!(lines, "{path}: {other}");
        }
    }
}

#[cfg(test)]
mod tests {
    use hashmesh::v1::QueueStats;

    use super::*;

    #[test]
    fn text_has_a_line_per_value() {
        let stats = json!({"a": {"b": 1, "c": [{"d": "x"}]}, "e": 0.25});
        assert_eq!(text(&stats), "a.b: 1\na.c[0].d: x\ne: 0.2\n");
    }

    #[test]
    fn a_process_of_the_queue_that_does_not_answer_is_seen() {
        let process = QueueProcessStats { address: "http://q2:7421".to_owned(), shards: 20, ..Default::default() };
        let stats = GetStatsResponse { queue_processes: vec![process], ..GetStatsResponse::default() };
        let shown = text(&json(&stats));
        assert!(shown.contains("queue_processes[0].address: http://q2:7421\n"), "{shown}");
        assert!(shown.contains("queue_processes[0].answered: false\n"), "{shown}");
    }

    #[test]
    fn a_worker_with_a_hostile_name_cannot_move_the_cursor() {
        let worker = WorkerStats { worker_id: "a\x1b[2J\nb".to_owned(), ..WorkerStats::default() };
        let queue = Some(QueueStats { workers: vec![worker], ..QueueStats::default() });
        let shown = text(&json(&GetStatsResponse { queue, ..GetStatsResponse::default() }));
        assert!(shown.contains("queue.workers[0].worker_id: a\\u{1b}[2J\\nb\n"), "{shown}");
    }
}
