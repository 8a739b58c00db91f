//! Reads from real streaming replicas.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use hashmesh::v1::{ReplicaState, ReplicaStats, Submission};
use hashmesh_database::Replica;
use uuid::Uuid;

use super::{
    super::{
        Maintenance, Reads, ResultsLimit, StoreError, SubmissionsPage,
        model::{Totals, Write},
        reads::Sessions,
        replicas::Source,
        results, submissions,
    },
    cluster::lone,
    fixture::{LONG, Owner, batch, create, new_id, results as outcomes, unit},
    standby::{Standby, replica},
};
use crate::maintenance::{StorageStatus, adopt, make};

/// Longer than a busy machine makes any replica wait: so the primary is never asked for lateness.
const PATIENT: Duration = Duration::from_secs(10);
/// For what must happen.
const PATIENCE: Duration = Duration::from_secs(30);

/// A submission by its list, as clients see it.
async fn find(reads: &Reads, id: Uuid) -> Option<Submission> {
    let found = reads.read(|source| async move { list(&source, id, 1).await }).await.unwrap();
    found.into_iter().find(|submission| submission.submission_id == id.to_string())
}

/// The newest submissions, from this one on.
async fn list(source: &impl Sessions, newest: Uuid, page_size: u32) -> Result<Vec<Submission>, StoreError> {
    let before = Some(Uuid::from_u128(newest.as_u128() + 1));
    let labels = &BTreeMap::new();
    let page = SubmissionsPage { tenant: "default", page_size, before, state: None, labels, retry_of: None };
    Ok(submissions(source, &page).await?.0)
}

/// Waits until the first replica is in this state; returns what is said of it.
async fn until(reads: &Reads, state: ReplicaState) -> ReplicaStats {
    let reached = async {
        loop {
            let stats = reads.stats().remove(0);
            if stats.state() == state {
                return stats;
            }
            tokio::task::yield_now().await;
        }
    };
    let waited = tokio::time::timeout(PATIENCE, reached).await;
    waited.unwrap_or_else(|_| panic!("never {state:?}: {:?}", reads.stats()))
}

async fn tell(replica: &Replica, statement: &str) {
    replica.pooled().await.unwrap().batch_execute(statement).await.unwrap();
}

#[tokio::test]
async fn what_was_committed_is_seen_by_every_read_that_begins_afterwards() {
    let (cluster, db) = lone().await;
    let standby = Standby::of(&cluster);
    let reads = Arc::new(Reads::new(db.clone(), &[standby.replica()], PATIENT));
    until(&reads, ReplicaState::Following).await;
    let mut owner = Owner::new(&db, LONG).await;

    // Others read all the time, so that samples are shared.
    let (first, stop) = (new_id(), Arc::new(AtomicBool::new(false)));
    owner.write(&[unit(first, [create()])]).await;
    let others: Vec<_> = (0..8)
        .map(|_| {
            let (reads, stop) = (Arc::clone(&reads), Arc::clone(&stop));
            tokio::spawn(async move {
                let mut count = 0_u64;
                while !stop.load(Ordering::Relaxed) {
                    assert!(find(&reads, first).await.is_some());
                    count += 1;
                }
                count
            })
        })
        .collect();
    let mut count = 0;
    for number in 0..300_u32 {
        let id = new_id();
        let tasks = 1 + number % 100;
        owner.write(&[unit(id, [create(), Write::Batch(batch(0, tasks, tasks.into(), None))])]).await;
        let found = find(&reads, id).await.expect("a submission that was committed");
        assert_eq!(found.accepted_tasks, u64::from(tasks));
        let row = outcomes(0, 0, &vec![1; tasks as usize], Totals::default());
        owner.write(&[unit(id, [Write::Results(row)])]).await;
        let limit = ResultsLimit { tasks: u64::MAX, bytes: usize::MAX };
        let rows = reads.read(|source| async move { results(&source, id, 0, limit).await }).await.unwrap();
        assert_eq!(rows.iter().map(|row| row.outcomes.task_count).sum::<u32>(), tasks);
        count += 2;
    }
    stop.store(true, Ordering::Relaxed);
    for other in others {
        count += other.await.unwrap();
    }
    let stats = until(&reads, ReplicaState::Following).await;
    assert_eq!((stats.reads, reads.by_primary()), (count, 0), "{stats:?}");
}

#[tokio::test]
async fn a_replica_that_stands_still_is_not_waited_for_and_answers_again_when_it_goes_on() {
    let (cluster, db) = lone().await;
    let standby = Standby::of(&cluster);
    let max_lag = Duration::from_secs(2);
    let reads = Reads::new(db.clone(), &[standby.replica()], max_lag);
    until(&reads, ReplicaState::Following).await;
    let mut owner = Owner::new(&db, LONG).await;

    tell(&standby.replica(), "SELECT pg_wal_replay_pause()").await;
    let id = new_id();
    let paused = async {
        let connection = db.dedicated("test").await.unwrap();
        // A pause is asked for, and comes into effect with the next record.
        owner.write(&[unit(new_id(), [create()])]).await;
        drop(connection);
        let on_replica = standby.replica();
        let session = on_replica.pooled().await.unwrap();
        let sql = "SELECT pg_get_wal_replay_pause_state() = 'paused'";
        while !session.query_one(sql, &[]).await.unwrap().get::<_, bool>(0) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, paused).await.unwrap();
    owner.write(&[unit(id, [create()])]).await;
    let session = standby.replica();
    let missing = session.pooled().await.unwrap().query("SELECT FROM submissions WHERE id = $1", &[&id]).await.unwrap();
    assert!(missing.is_empty(), "the replica has what it was not to replay");

    // The first read may have waited for it, further ones do not.
    assert!(find(&reads, id).await.is_some());
    let stats = until(&reads, ReplicaState::Lagging).await;
    assert!(stats.problem.contains("more than 2s behind"), "{stats:?}");
    let began = Instant::now();
    for _ in 0..20 {
        assert!(find(&reads, id).await.is_some());
    }
    assert!(began.elapsed() < max_lag, "{:?}", began.elapsed());
    let stats = reads.stats().remove(0);
    assert_eq!((stats.state(), stats.reads, reads.by_primary()), (ReplicaState::Lagging, 0, 21));

    tell(&standby.replica(), "SELECT pg_wal_replay_resume()").await;
    until(&reads, ReplicaState::Following).await;
    assert!(find(&reads, id).await.is_some());
    assert_eq!((reads.stats()[0].reads, reads.by_primary()), (1, 21));
}

#[tokio::test]
async fn a_replica_that_is_gone_is_done_without_and_used_again_when_it_is_back() {
    let (cluster, db) = lone().await;
    let mut standby = Standby::of(&cluster);
    let reads = Reads::new(db.clone(), &[standby.replica()], PATIENT);
    until(&reads, ReplicaState::Following).await;
    let mut owner = Owner::new(&db, LONG).await;
    let id = new_id();
    owner.write(&[unit(id, [create()])]).await;
    assert!(find(&reads, id).await.is_some());
    assert_eq!((reads.stats()[0].reads, reads.by_primary()), (1, 0));

    standby.tell("stop");
    // At once, before anybody has noticed.
    assert!(find(&reads, id).await.is_some());
    let stats = until(&reads, ReplicaState::Unreachable).await;
    assert!(!stats.problem.is_empty());
    assert!(find(&reads, id).await.is_some());
    assert_eq!((reads.stats()[0].reads, reads.by_primary()), (1, 2));

    let later = new_id();
    owner.write(&[unit(later, [create()])]).await;
    standby.tell("start");
    until(&reads, ReplicaState::Following).await;
    let again = async {
        while reads.stats()[0].reads == 1 {
            assert!(find(&reads, later).await.is_some());
        }
    };
    tokio::time::timeout(PATIENCE, again).await.unwrap();
}

#[tokio::test]
async fn what_is_no_standby_of_the_database_is_refused_by_name() {
    let (cluster, db) = lone().await;
    let mut owner = Owner::new(&db, LONG).await;
    let id = new_id();
    owner.write(&[unit(id, [create()])]).await;
    let mut standby = Standby::of(&cluster);

    let primary = Reads::new(db.clone(), &[replica(&cluster.directory, "test")], PATIENT);
    let stats = until(&primary, ReplicaState::Refused).await;
    assert!(stats.problem.contains("it is a primary"), "{stats:?}");
    assert!(find(&primary, id).await.is_some());

    let (_other, other_db) = lone().await;
    let foreign = Reads::new(other_db, &[standby.replica()], PATIENT);
    let stats = until(&foreign, ReplicaState::Refused).await;
    assert!(stats.problem.contains("it belongs to cluster"), "{stats:?}");
    assert!(find(&foreign, id).await.is_none());

    // Promoted, it goes its own way: what it says is not the database's any more.
    let reads = Reads::new(db.clone(), &[standby.replica()], PATIENT);
    until(&reads, ReplicaState::Following).await;
    standby.tell("promote");
    let hidden = new_id();
    tell(&standby.replica(), "DELETE FROM submissions").await;
    owner.write(&[unit(hidden, [create()])]).await;
    assert!(find(&reads, id).await.is_some() && find(&reads, hidden).await.is_some());
    let stats = until(&reads, ReplicaState::Refused).await;
    assert!(stats.problem.contains("it was promoted") || stats.problem.contains("it is a primary"), "{stats:?}");
    assert_eq!((stats.reads, reads.by_primary()), (0, 2));
}

#[tokio::test]
async fn a_replica_url_that_names_another_database_of_the_cluster_is_refused() {
    let (cluster, db) = lone().await;
    cluster.create("other").await;
    let standby = Standby::of(&cluster);
    let other = Reads::new(db.clone(), &[standby.replica_of("other")], PATIENT);
    let stats = until(&other, ReplicaState::Refused).await;
    assert!(stats.problem.contains("another database or schema"), "{stats:?}");
    assert!(find(&other, new_id()).await.is_none());
    assert_eq!((other.stats()[0].reads, other.by_primary()), (0, 1));
}

#[tokio::test]
async fn a_connection_to_a_server_that_is_not_as_far_answers_nothing() {
    let (cluster, db) = lone().await;
    let standby = Standby::of(&cluster);
    let reads = Reads::new(db.clone(), &[standby.replica()], PATIENT);
    until(&reads, ReplicaState::Following).await;
    // What the monitor knows is one thing, what stands behind a connection is another: further back, or on another timeline.
    let chosen = async || reads.replicas.as_ref().unwrap().choose().await.unwrap().1;
    assert!(list(&Source::Replica(chosen().await), new_id(), 1).await.unwrap().is_empty());
    for elsewhere in [chosen().await.further_by(1 << 40), chosen().await.on_timeline(2)] {
        let error = list(&Source::Replica(elsewhere), new_id(), 1).await.unwrap_err();
        assert!(matches!(error, StoreError::Behind { .. }), "{error}");
    }
}

#[tokio::test]
async fn days_and_inputs_that_were_left_out_are_the_same_on_a_replica() {
    let (cluster, db) = lone().await;
    let tables = Maintenance::open(&db).await.unwrap().unwrap();
    adopt(&tables).await.unwrap();
    make(&tables, &StorageStatus::default()).await.unwrap();
    let standby = Standby::of(&cluster);
    let reads = Reads::new(db.clone(), &[standby.replica()], PATIENT);
    until(&reads, ReplicaState::Following).await;
    let mut owner = Owner::new(&db, LONG).await;
    let mut newest = new_id();
    for count in 1..=5_u32 {
        newest = new_id();
        let names: Vec<String> = (0..count).map(|task| format!("{count}/{task}")).collect();
        let names: Vec<&[u8]> = names.iter().map(String::as_bytes).collect();
        // The inputs of a batch with an odd number are left out, because its outcomes are in the same transaction.
        let mut writes = vec![create()];
        let mut totals = Totals::default();
        for sequence in 0..2 {
            let accepted = u64::from(count) * u64::from(sequence + 1);
            let row = outcomes(sequence, 0, &vec![1; count as usize], totals);
            totals = row.totals;
            writes.push(Write::Batch(batch(sequence, count, accepted, Some(&names))));
            writes.push(Write::Results(row));
        }
        owner.write(&[unit(newest, writes)]).await;
    }
    let shown = reads.read(|source| async move { list(&source, newest, 10).await }).await.unwrap();
    assert_eq!((shown.len(), &shown), (5, &list(&db, newest, 10).await.unwrap()));
    for submission in shown {
        let id = submission.submission_id.parse().unwrap();
        let limit = ResultsLimit { tasks: u64::MAX, bytes: usize::MAX };
        let rows = reads.read(|source| async move { results(&source, id, 0, limit).await }).await.unwrap();
        assert_eq!((rows.len(), &rows), (2, &results(&db, id, 0, limit).await.unwrap()));
    }
    assert_eq!((reads.stats()[0].reads, reads.by_primary()), (6, 0));
}

#[tokio::test]
async fn a_replica_that_hangs_costs_a_read_a_moment_and_no_error() {
    let (cluster, db) = lone().await;
    let mut standby = Standby::of(&cluster);
    let reads = Reads::new(db.clone(), &[standby.replica()], Duration::from_secs(1));
    until(&reads, ReplicaState::Following).await;
    let mut owner = Owner::new(&db, LONG).await;
    let first = new_id();
    owner.write(&[unit(first, [create()])]).await;
    assert!(find(&reads, first).await.is_some());

    standby.tell("freeze");
    let second = new_id();
    owner.write(&[unit(second, [create()])]).await;
    for id in [first, second] {
        assert!(find(&reads, id).await.is_some());
    }
    until(&reads, ReplicaState::Unreachable).await;
    assert!(find(&reads, second).await.is_some());
    standby.tell("thaw");
    until(&reads, ReplicaState::Following).await;
    let before = reads.stats()[0].reads;
    let again = async {
        while reads.stats()[0].reads == before {
            assert!(find(&reads, second).await.is_some());
        }
    };
    tokio::time::timeout(PATIENCE, again).await.unwrap();
}
