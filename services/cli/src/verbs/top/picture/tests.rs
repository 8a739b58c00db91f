use hashmesh::v1::{QueueProcessStats, ReplicaStats};

use super::*;
use crate::verbs::top::table::columns;

fn worker(worker_id: &str, per_second: f64) -> WorkerStats {
    WorkerStats {
        worker_id: worker_id.to_owned(),
        slots: 4,
        leases: 7,
        leased_tasks: 12_345,
        recorded_tasks: 1_234_567,
        recorded_tasks_per_second: per_second,
        connected_ms: 3_723_000,
        ..WorkerStats::default()
    }
}

fn phase(phase: Phase, tasks: u64) -> PhaseStats {
    let mut stats = PhaseStats { tasks, ..PhaseStats::default() };
    stats.set_phase(phase);
    (stats.min_micros, stats.p50_micros, stats.p95_micros) = (640, 1_200, 15_000);
    (stats.p99_micros, stats.max_micros) = (250_000, 61_000_000);
    stats
}

fn answer(workers: Vec<WorkerStats>) -> GetStatsResponse {
    let phases = vec![phase(Phase::ReceivedToCommitted, 5_000), phase(Phase::LeaseSlack, 0)];
    let queue = QueueStats { ready_tasks: 1_500, oldest_ready_ms: 1_200, workers, phases, ..QueueStats::default() };
    let database = DatabaseStats {
        pool_connections: 3,
        pool_idle: 1,
        pool_max: 10,
        server_version: "18.1".to_owned(),
        ..DatabaseStats::default()
    };
    GetStatsResponse {
        queue: Some(queue),
        database: Some(database),
        cache: Some(CacheStats::default()),
        gateway_streams: 8,
        ..GetStatsResponse::default()
    }
}

fn picture<'a>(stats: Option<&'a GetStatsResponse>, changes: Option<&'a Changes>) -> Picture<'a> {
    Picture {
        server: "http://127.0.0.1:7420",
        version: Some("0.1.0"),
        answered: "answered 0.2 s ago".to_owned(),
        outage: None,
        stats,
        changes,
    }
}

#[test]
fn several_processes_of_the_queue_have_a_line_and_one_that_owns_all_has_none() {
    let process = |shards, answered| QueueProcessStats { shards, answered, ..QueueProcessStats::default() };
    let shown = |queue_processes| {
        let stats = GetStatsResponse { queue_processes, ..answer(Vec::new()) };
        picture(Some(&stats), None).lines(100, 30).join("\n")
    };
    assert!(!shown(vec![process(64, true)]).contains("queues "));
    assert!(
        shown(vec![process(40, true), process(20, false)]).contains("queues    1 of 2 answer  shards 60 of 64 owned")
    );
    assert!(shown(vec![process(63, true)]).contains("queues    1 of 1 answer  shards 63 of 64 owned"));
}

const HOSTILE: &str = "a\x1b[2J\r\n\u{202e}\u{4e16}\u{754c}\u{9b}31m\0";

#[test]
fn a_picture_fits_every_terminal_whatever_the_names_are() {
    for workers in [0, 1, 3, 300] {
        let workers = (0..workers).map(|_| worker(&HOSTILE.repeat(9), 5e9)).collect();
        let stats = answer(workers);
        let outage = Some(format!("no answer since now: {HOSTILE}"));
        let changes = Changes { accepted: f64::MAX, wal_bytes: 1e300, hit_ratio: Some(0.5), ..Changes::default() };
        for stats in [None, Some(&stats), Some(&GetStatsResponse::default())] {
            for (width, height) in [(0, 0), (1, 1), (20, 5), (80, 24), (200, 50), (1, 200), (500, 1)] {
                let picture = Picture { server: HOSTILE, outage: outage.clone(), ..picture(stats, Some(&changes)) };
                let lines = picture.lines(width, height);
                assert!(lines.len() <= height, "{} lines of {height}", lines.len());
                for line in lines {
                    assert!(columns(&line) <= width, "{line:?} is wider than {width}");
                    assert!(!line.chars().any(|one| one.is_control() || one == '\u{202e}'), "{line:?}");
                }
            }
        }
    }
}

#[test]
fn a_picture_shows_what_was_answered() {
    let changes = Changes {
        seconds: 1.0,
        accepted: 81_230.0,
        recorded: 80_000.0,
        commits: 59.9,
        wal_bytes: 4.5 * 1_048_576.0,
        hit_ratio: Some(0.953),
        ..Changes::default()
    };
    let mut stats = answer(vec![worker("slow", 10.0), worker("fast", 81_230.0)]);
    stats.queue.as_mut().unwrap().workers[0].draining = true;
    let lines = picture(Some(&stats), Some(&changes)).lines(120, 50);
    assert_eq!(
        lines,
        [
            "hashmesh 0.1.0  http://127.0.0.1:7420  answered 0.2 s ago",
            "queue     ready 1,500  leased 0  oldest ready 1.2s  submissions 0",
            "per s     accepted 81.2k  recorded 80.0k  retried 0  refused 0  rescued 0",
            "database  pool 2/10 in use  commits 59.9/s  WAL 4.5 MiB/s  PostgreSQL 18.1",
            "cache     hits 95.3 %  saved 0 B/s  in memory 0 entries, 0 B",
            "gateway   streams 8  coalesced digests 0",
            "",
            "last minute            tasks    min    p50     p95    p99    max",
            "received to committed  5,000  640us  1.2ms  15.0ms  250ms  1m01s",
            "lease slack                0      -      -       -      -      -",
            "",
            "2 workers  slots  leases   tasks  tasks/s   recorded  connected",
            "fast           4       7  12,345    81.2k  1,234,567      1h02m",
            "slow           4       7  12,345       10  1,234,567      1h02m  draining",
        ]
    );
}

#[test]
fn what_cannot_be_known_yet_is_not_shown_as_nothing() {
    let stats = answer(Vec::new());
    let lines = picture(Some(&stats), None).lines(120, 50);
    assert!(lines.iter().any(|line| line.starts_with("per s     accepted -  recorded -")), "{lines:?}");
    assert!(lines.iter().any(|line| line.contains("WAL -")) && lines.iter().any(|line| line.contains("hits -")));
    let without_cache = GetStatsResponse { cache: None, ..stats };
    let lines = picture(Some(&without_cache), None).lines(120, 50);
    assert!(lines.contains(&"cache     none answers".to_owned()), "{lines:?}");
}

#[test]
fn the_busiest_workers_are_shown_and_the_others_counted() {
    let stats = answer((0..30).map(|index| worker(&format!("worker-{index:02}"), f64::from(index % 10))).collect());
    let lines = picture(Some(&stats), None).lines(100, 24);
    assert_eq!(lines.len(), 24);
    let tail: Vec<&str> = lines[11..].iter().map(|line| line.split_whitespace().next().unwrap()).collect();
    assert_eq!(tail[..5], ["30", "worker-09", "worker-19", "worker-29", "worker-08"]);
    assert_eq!(lines[23], "... and 19 more");
    // Thirty rows and their head fit exactly.
    let lines = picture(Some(&stats), None).lines(100, 11 + 31);
    assert!(lines.len() == 42 && lines[41].starts_with("worker-20"), "{lines:?}");
}

#[test]
fn an_outage_stands_above_the_last_picture() {
    let stats = answer(Vec::new());
    let outage = Some("no answer since 2026-01-01T00:00:00Z: gone".to_owned());
    let lines = Picture { outage, ..picture(Some(&stats), None) }.lines(100, 24);
    assert_eq!(lines[1], "no answer since 2026-01-01T00:00:00Z: gone");
    assert!(lines[2].starts_with("queue"));
}

#[test]
fn replicas_are_counted_where_there_are_some() {
    let mut stats = answer(Vec::new());
    let replica = |state: ReplicaState| ReplicaStats { state: state.into(), ..ReplicaStats::default() };
    stats.database.as_mut().unwrap().replicas = vec![replica(ReplicaState::Following), replica(ReplicaState::Lagging)];
    let lines = picture(Some(&stats), None).lines(100, 24);
    assert!(lines[3].ends_with("replicas 1/2 following"), "{lines:?}");
}
