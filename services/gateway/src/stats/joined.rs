//! What the processes of the Queue say of themselves, as one.

use std::collections::{BTreeMap, HashMap};

use hashmesh::{
    queue::v1::GetQueueStatsResponse,
    v1::{
        DatabaseStats, Phase, PhaseStats, QueueProcessStats, QueueStats, ReplicaState, ReplicaStats, StorageStats,
        WorkerStats,
    },
};

use crate::upstream::{Asked, QueueProcess};

/// What the Queue does.
#[derive(Debug, Default)]
pub(super) struct Joined {
    pub(super) queue: QueueStats,
    pub(super) database: Option<DatabaseStats>,
    pub(super) storage: Option<StorageStats>,
    pub(super) processes: Vec<QueueProcessStats>,
}

pub(super) fn join(asked: Vec<Asked<GetQueueStatsResponse>>) -> Joined {
    let mut processes = Vec::with_capacity(asked.len());
    let mut answers = Vec::with_capacity(asked.len());
    for one in asked {
        let process = one.process.clone();
        let answer = one.ok().map(|(_, answer)| answer);
        processes.push(process_stats(&process, answer.as_ref()));
        answers.extend(answer.map(|answer| (process.first, answer)));
    }
    // Who owns the first shard knows what there is once: the tables.
    answers.sort_by_key(|(first, _)| !first);
    let (mut queues, mut databases, mut storages) = (Vec::new(), Vec::new(), Vec::new());
    for (_, GetQueueStatsResponse { queue, database, storage }) in answers {
        queues.extend(queue);
        databases.extend(database);
        storages.extend(storage);
    }
    Joined {
        queue: join_queues(queues),
        database: databases.into_iter().reduce(join_databases),
        storage: storages.into_iter().reduce(join_storages),
        processes,
    }
}

fn process_stats(process: &QueueProcess, answer: Option<&GetQueueStatsResponse>) -> QueueProcessStats {
    let QueueProcess { id, address, shards, .. } = process.clone();
    let stats = QueueProcessStats { process_id: id, address, shards, ..Default::default() };
    let Some(answer) = answer else { return stats };
    let queue = answer.queue.as_ref();
    let number = |of: fn(&QueueStats) -> u64| queue.map_or(0, of);
    QueueProcessStats {
        answered: true,
        unfinished_submissions: number(|queue| queue.unfinished_submissions),
        ready_tasks: number(|queue| queue.ready_tasks),
        leased_tasks: number(|queue| queue.leased_tasks),
        recorded_tasks_per_second: queue.map_or(0.0, |queue| queue.recorded_tasks_per_second),
        ..stats
    }
}

fn join_queues(mut queues: Vec<QueueStats>) -> QueueStats {
    let workers = workers(queues.iter_mut().map(|queue| std::mem::take(&mut queue.workers)).collect());
    let phases = phases(queues.iter().flat_map(|queue| &queue.phases));
    let joined = queues.into_iter().fold(QueueStats::default(), |a, b| QueueStats {
        unfinished_submissions: a.unfinished_submissions + b.unfinished_submissions,
        ready_tasks: a.ready_tasks + b.ready_tasks,
        leased_tasks: a.leased_tasks + b.leased_tasks,
        oldest_ready_ms: a.oldest_ready_ms.max(b.oldest_ready_ms),
        accepted_tasks: a.accepted_tasks + b.accepted_tasks,
        recorded_tasks: a.recorded_tasks + b.recorded_tasks,
        refused_tasks: a.refused_tasks + b.refused_tasks,
        retried_tasks: a.retried_tasks + b.retried_tasks,
        rescued_leases: a.rescued_leases + b.rescued_leases,
        commits: a.commits + b.commits,
        accepted_tasks_per_second: a.accepted_tasks_per_second + b.accepted_tasks_per_second,
        recorded_tasks_per_second: a.recorded_tasks_per_second + b.recorded_tasks_per_second,
        payload_bytes: a.payload_bytes + b.payload_bytes,
        workers: Vec::new(),
        phases: Vec::new(),
    });
    QueueStats { workers, phases, ..joined }
}

/// Workers by name, from what each process says of its streams to them.
///
/// Of several with one name in one answer nobody can say which is which in another: the first is joined with the first, the
/// second with the second, in the order in which they connected. So their number is right.
pub(crate) fn workers(answers: Vec<Vec<WorkerStats>>) -> Vec<WorkerStats> {
    let mut joined: BTreeMap<(String, usize), WorkerStats> = BTreeMap::new();
    for mut answer in answers {
        answer.sort_by_key(|worker| std::cmp::Reverse(worker.connected_ms));
        let mut namesakes: HashMap<String, usize> = HashMap::new();
        for worker in answer {
            let namesake = namesakes.entry(worker.worker_id.clone()).or_default();
            let key = (worker.worker_id.clone(), *namesake);
            *namesake += 1;
            let worker = match joined.remove(&key) {
                Some(known) => join_workers(known, worker),
                None => worker,
            };
            joined.insert(key, worker);
        }
    }
    joined.into_values().collect()
}

fn join_workers(a: WorkerStats, b: WorkerStats) -> WorkerStats {
    WorkerStats {
        worker_id: a.worker_id,
        slots: a.slots.max(b.slots),
        leases: a.leases + b.leases,
        leased_tasks: a.leased_tasks + b.leased_tasks,
        recorded_tasks: a.recorded_tasks + b.recorded_tasks,
        sources: if a.sources.is_empty() { b.sources } else { a.sources },
        draining: a.draining && b.draining,
        recorded_tasks_per_second: a.recorded_tasks_per_second + b.recorded_tasks_per_second,
        connected_ms: a.connected_ms.max(b.connected_ms),
    }
}

/// Every phase once. What half of all tasks did not exceed cannot be told from what half of each process's did not, so it is
/// what half did not exceed where that is worst.
fn phases<'a>(phases: impl Iterator<Item = &'a PhaseStats>) -> Vec<PhaseStats> {
    let mut joined: BTreeMap<i32, PhaseStats> = BTreeMap::new();
    for phase in phases {
        let known = joined.entry(phase.phase).or_insert(PhaseStats { phase: phase.phase, ..Default::default() });
        if known.tasks == 0 {
            *known = *phase;
        } else if phase.tasks > 0 {
            *known = join_phases(known, phase);
        }
    }
    joined.into_values().collect()
}

fn join_phases(a: &PhaseStats, b: &PhaseStats) -> PhaseStats {
    // Of what is left little is worse.
    let worst = if a.phase() == Phase::LeaseSlack { u64::min } else { u64::max };
    PhaseStats {
        phase: a.phase,
        tasks: a.tasks + b.tasks,
        min_micros: a.min_micros.min(b.min_micros),
        p50_micros: worst(a.p50_micros, b.p50_micros),
        p95_micros: worst(a.p95_micros, b.p95_micros),
        p99_micros: worst(a.p99_micros, b.p99_micros),
        max_micros: a.max_micros.max(b.max_micros),
    }
}

fn join_databases(a: DatabaseStats, b: DatabaseStats) -> DatabaseStats {
    DatabaseStats {
        pool_connections: a.pool_connections + b.pool_connections,
        pool_idle: a.pool_idle + b.pool_idle,
        pool_max: a.pool_max + b.pool_max,
        // The server's own count, asked for a moment earlier or later.
        wal_bytes: a.wal_bytes.max(b.wal_bytes),
        server_version: a.server_version,
        primary_reads: a.primary_reads + b.primary_reads,
        replicas: join_replicas(a.replicas, b.replicas),
    }
}

/// In the order of the first; a process may be configured with others.
fn join_replicas(mut a: Vec<ReplicaStats>, b: Vec<ReplicaStats>) -> Vec<ReplicaStats> {
    for replica in b {
        let Some(known) = a.iter_mut().find(|known| known.address == replica.address) else {
            a.push(replica);
            continue;
        };
        if known.state() == ReplicaState::Following && replica.state() != ReplicaState::Following {
            known.state = replica.state;
            known.problem = replica.problem;
        }
        known.lag_ms = known.lag_ms.max(replica.lag_ms);
        known.reads += replica.reads;
        known.fallbacks += replica.fallbacks;
    }
    a
}

/// What is said of the tables is what the first knows, if it has looked; the others may have looked long ago.
fn join_storages(a: StorageStats, b: StorageStats) -> StorageStats {
    let tables = if a.day_partitions > 0 { a } else { b };
    StorageStats {
        expired_submissions: a.expired_submissions + b.expired_submissions,
        dropped_partitions: a.dropped_partitions + b.dropped_partitions,
        idle_cancelled_submissions: a.idle_cancelled_submissions + b.idle_cancelled_submissions,
        ..tables
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(address: &str, shards: u32, queue: Option<QueueStats>) -> Asked<GetQueueStatsResponse> {
        let process = QueueProcess { id: "id".to_owned(), address: address.to_owned(), shards, first: shards > 30 };
        let answer = queue.map(|queue| Ok(GetQueueStatsResponse { queue: Some(queue), ..Default::default() }));
        Asked { process, answer }
    }

    fn worker(name: &str, leased_tasks: u64, connected_ms: u64) -> WorkerStats {
        WorkerStats { worker_id: name.to_owned(), slots: 2, leased_tasks, connected_ms, ..Default::default() }
    }

    #[test]
    fn counters_add_up_the_oldest_task_is_the_oldest_of_all_and_who_is_silent_is_seen() {
        let queue = |ready_tasks, oldest_ready_ms| QueueStats { ready_tasks, oldest_ready_ms, ..Default::default() };
        let joined = join(vec![
            asked("http://a:1", 40, Some(queue(3, 700))),
            asked("http://b:1", 20, None),
            asked("http://c:1", 0, Some(queue(4, 200))),
        ]);
        assert_eq!((joined.queue.ready_tasks, joined.queue.oldest_ready_ms), (7, 700));
        let seen = joined.processes.iter().map(|one| (one.address.as_str(), one.shards, one.answered, one.ready_tasks));
        let wanted = [("http://a:1", 40, true, 3), ("http://b:1", 20, false, 0), ("http://c:1", 0, true, 4)];
        assert_eq!(seen.collect::<Vec<_>>(), wanted);
    }

    #[test]
    fn a_worker_is_one_however_many_streams_it_has_and_namesakes_stay_as_many_as_they_are() {
        let draining = WorkerStats { draining: true, ..worker("b", 1, 10) };
        let joined = workers(vec![
            vec![worker("a", 3, 5_000), worker("twin", 1, 100), worker("twin", 2, 900), draining.clone()],
            vec![worker("twin", 4, 90), worker("a", 4, 60), worker("twin", 8, 800), worker("b", 0, 10)],
            vec![],
        ]);
        let seen: Vec<_> =
            joined.iter().map(|one| (one.worker_id.as_str(), one.leased_tasks, one.connected_ms)).collect();
        assert_eq!(seen, [("a", 7, 5_000), ("b", 1, 10), ("twin", 10, 900), ("twin", 5, 100)]);
        assert!(joined.iter().all(|worker| worker.slots == 2));
        // One process would still give it leases.
        assert!(!joined[1].draining);
        assert!(workers(vec![vec![draining.clone()], vec![draining]])[0].draining);
    }

    #[test]
    fn percentiles_are_those_of_the_worst_process_and_of_slack_the_smallest() {
        let stats = |phase: Phase, tasks, p50_micros| PhaseStats {
            phase: phase.into(),
            tasks,
            min_micros: p50_micros - 1,
            p50_micros,
            max_micros: p50_micros + 1,
            ..Default::default()
        };
        let (way, slack) = (Phase::LeasedToDone, Phase::LeaseSlack);
        let all = [stats(slack, 1, 50), stats(way, 5, 10), stats(way, 7, 30), stats(way, 0, 99), stats(slack, 1, 20)];
        let [joined_way, joined_slack] = phases(all.iter())[..] else { panic!("two phases") };
        let seen = |one: PhaseStats| (one.tasks, one.min_micros, one.p50_micros, one.max_micros);
        assert_eq!(seen(joined_way), (12, 9, 30, 31));
        assert_eq!(seen(joined_slack), (2, 19, 20, 51));
    }

    #[test]
    fn the_tables_are_as_the_first_shards_owner_knows_them_and_a_replica_is_as_good_as_where_it_is_worst() {
        let storage = |days_ahead, expired_submissions| StorageStats {
            day_partitions: days_ahead,
            days_ahead,
            expired_submissions,
            ..Default::default()
        };
        assert_eq!(join_storages(storage(5, 1), storage(8, 2)), StorageStats { day_partitions: 5, ..storage(5, 3) });
        assert_eq!(join_storages(storage(0, 1), storage(8, 2)).days_ahead, 8);
        let replica = |state: ReplicaState, lag_ms, problem: &str| ReplicaStats {
            address: "db2:5432".to_owned(),
            state: state.into(),
            lag_ms,
            reads: 10,
            problem: problem.to_owned(),
            ..Default::default()
        };
        let following = || vec![replica(ReplicaState::Following, 3, "")];
        let joined = join_replicas(following(), vec![replica(ReplicaState::Lagging, 400, "behind")]);
        assert_eq!(joined, [ReplicaStats { reads: 20, ..replica(ReplicaState::Lagging, 400, "behind") }]);
        assert_eq!(join_replicas(following(), following())[0].state(), ReplicaState::Following);
    }
}
