//! The lines that are shown: a pure function of what is known and of the room there is.

use hashmesh::{
    gateway::v1::GetStatsResponse,
    shards::SHARDS,
    v1::{CacheStats, DatabaseStats, Phase, PhaseStats, QueueProcessStats, QueueStats, ReplicaState, WorkerStats},
};

use super::{
    changes::Changes,
    numbers::{bytes, count, duration, rate},
    table::{self, cut, foreign, wrap},
};

/// Columns that a worker's name may take.
const NAME: usize = 24;
/// Lines that an outage may take.
const OUTAGE: usize = 3;
/// What is not known.
const UNKNOWN: &str = "-";

/// What is known, for one picture.
#[derive(Debug)]
pub(super) struct Picture<'a> {
    pub(super) server: &'a str,
    pub(super) version: Option<&'a str>,
    /// When the last answer came, for the first line.
    pub(super) answered: String,
    /// Why there is none since.
    pub(super) outage: Option<String>,
    pub(super) stats: Option<&'a GetStatsResponse>,
    /// `None`: there was no answer before the last one to compare it with.
    pub(super) changes: Option<&'a Changes>,
}

impl Picture<'_> {
    /// At most `height` lines of at most `width` columns. What comes first matters most; of the workers those that do most
    /// are shown.
    pub(super) fn lines(&self, width: usize, height: usize) -> Vec<String> {
        let version = self.version.map(|version| format!(" {}", foreign(version, NAME))).unwrap_or_default();
        let mut lines = vec![format!("hashmesh{version}  {}  {}", foreign(self.server, 128), self.answered)];
        let outage = self.outage.as_deref().map(|outage| wrap(&foreign(outage, 512), width, OUTAGE));
        lines.extend(outage.unwrap_or_default());
        if let Some(stats) = self.stats {
            self.put_summary(stats, &mut lines);
            if let Some(queue) = &stats.queue {
                lines.push(String::new());
                lines.extend(phases(&queue.phases));
                lines.push(String::new());
                let room = height.saturating_sub(lines.len());
                lines.extend(workers(&queue.workers, room));
            }
        }
        lines.truncate(height);
        lines.iter().map(|line| cut(line.trim_end(), width).to_owned()).collect()
    }

    fn put_summary(&self, stats: &GetStatsResponse, lines: &mut Vec<String>) {
        if let Some(queue) = &stats.queue {
            lines.push(queue_line(queue));
            lines.push(self.rates_line());
            lines.extend(processes_line(&stats.queue_processes));
        }
        lines.extend(stats.database.as_ref().map(|database| self.database_line(database)));
        lines.push(
            stats.cache.as_ref().map_or_else(|| "cache     none answers".to_owned(), |cache| self.cache_line(cache)),
        );
        let (streams, coalesced) = (stats.gateway_streams, count(stats.coalesced_digests));
        lines.push(format!("gateway   streams {streams}  coalesced digests {coalesced}"));
    }

    fn changed(&self, value: fn(&Changes) -> f64) -> String {
        self.changes.map_or_else(|| UNKNOWN.to_owned(), |changes| rate(value(changes)))
    }

    fn changed_bytes(&self, value: fn(&Changes) -> f64) -> String {
        self.changes.map_or_else(|| UNKNOWN.to_owned(), |changes| format!("{}/s", bytes(value(changes))))
    }

    fn rates_line(&self) -> String {
        format!(
            "per s     accepted {}  recorded {}  retried {}  refused {}  rescued {}",
            self.changed(|changes| changes.accepted),
            self.changed(|changes| changes.recorded),
            self.changed(|changes| changes.retried),
            self.changed(|changes| changes.refused),
            self.changed(|changes| changes.rescued),
        )
    }

    fn database_line(&self, database: &DatabaseStats) -> String {
        let busy = database.pool_connections.saturating_sub(database.pool_idle);
        let commits = self.changed(|changes| changes.commits);
        let wal = self.changed_bytes(|changes| changes.wal_bytes);
        let version = foreign(&database.server_version, NAME);
        let mut line = format!(
            "database  pool {busy}/{} in use  commits {commits}/s  WAL {wal}  PostgreSQL {version}",
            database.pool_max
        );
        if !database.replicas.is_empty() {
            let following =
                database.replicas.iter().filter(|replica| replica.state() == ReplicaState::Following).count();
            line.push_str(&format!("  replicas {following}/{} following", database.replicas.len()));
        }
        line
    }

    fn cache_line(&self, cache: &CacheStats) -> String {
        let ratio = self.changes.and_then(|changes| changes.hit_ratio);
        let ratio = ratio.map_or_else(|| UNKNOWN.to_owned(), |ratio| format!("{:.1} %", ratio * 100.0));
        let saved = self.changed_bytes(|changes| changes.saved_bytes);
        let (entries, held) = (count(cache.memory_entries), bytes(cache.memory_bytes as f64));
        format!("cache     hits {ratio}  saved {saved}  in memory {entries} entries, {held}")
    }
}

fn queue_line(queue: &QueueStats) -> String {
    format!(
        "queue     ready {}  leased {}  oldest ready {}  submissions {}",
        count(queue.ready_tasks),
        count(queue.leased_tasks),
        duration(queue.oldest_ready_ms.saturating_mul(1_000)),
        count(queue.unfinished_submissions),
    )
}

/// Of several processes, or of one that is not well.
fn processes_line(processes: &[QueueProcessStats]) -> Option<String> {
    let answer = processes.iter().filter(|process| process.answered).count();
    let owned: u32 = processes.iter().map(|process| process.shards).sum();
    let one = processes.len() <= 1 && answer == processes.len() && (owned == u32::from(SHARDS) || processes.is_empty());
    (!one).then(|| format!("queues    {answer} of {} answer  shards {owned} of {SHARDS} owned", processes.len()))
}

fn phases(phases: &[PhaseStats]) -> Vec<String> {
    let head = ["last minute", "tasks", "min", "p50", "p95", "p99", "max"].map(str::to_owned);
    let row = |stats: &PhaseStats| {
        let PhaseStats { tasks, min_micros, p50_micros, p95_micros, p99_micros, max_micros, .. } = *stats;
        let time = |micros| if tasks > 0 { duration(micros) } else { UNKNOWN.to_owned() };
        let [min, p50, p95, p99, max] = [min_micros, p50_micros, p95_micros, p99_micros, max_micros].map(time);
        [phase_name(stats.phase()).to_owned(), count(tasks), min, p50, p95, p99, max]
    };
    table::lines(&std::iter::once(head).chain(phases.iter().map(row)).collect::<Vec<_>>())
}

fn phase_name(phase: Phase) -> &'static str {
    match phase {
        Phase::ReceivedToCommitted => "received to committed",
        Phase::CommittedToLeased => "committed to leased",
        Phase::LeasedToDone => "leased to done",
        Phase::DoneToRecorded => "done to recorded",
        Phase::ReceivedToRecorded => "received to recorded",
        Phase::LeaseSlack => "lease slack",
        Phase::Unspecified => "unknown",
    }
}

/// The busiest workers, in so many lines, and how many there are besides.
fn workers(workers: &[WorkerStats], room: usize) -> Vec<String> {
    let mut sorted: Vec<&WorkerStats> = workers.iter().collect();
    let busy = |worker: &WorkerStats| worker.recorded_tasks_per_second;
    sorted.sort_by(|a, b| busy(b).total_cmp(&busy(a)).then_with(|| a.worker_id.cmp(&b.worker_id)));
    let title = format!("{} worker{}", count(workers.len() as u64), if workers.len() == 1 { "" } else { "s" });
    let head = [title.as_str(), "slots", "leases", "tasks", "tasks/s", "recorded", "connected", ""].map(str::to_owned);
    let row = |worker: &&WorkerStats| {
        [
            foreign(&worker.worker_id, NAME),
            worker.slots.to_string(),
            count(worker.leases.into()),
            count(worker.leased_tasks),
            rate(worker.recorded_tasks_per_second),
            count(worker.recorded_tasks),
            duration(worker.connected_ms.saturating_mul(1_000)),
            if worker.draining { "draining".to_owned() } else { String::new() },
        ]
    };
    // The head, and a line for those that are left out.
    let all_fit = workers.len() < room;
    let shown = if all_fit { workers.len() } else { room.saturating_sub(2) };
    let mut lines = table::lines(&std::iter::once(head).chain(sorted[..shown].iter().map(row)).collect::<Vec<_>>());
    if !all_fit {
        lines.push(format!("... and {} more", count((workers.len() - shown) as u64)));
    }
    lines
}

#[cfg(test)]
mod tests;
