//! Random submissions, written in random groups, read back in every way: what comes out is what went in.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use hashmesh::v1::{Outcome, OutcomeStatus, PackedOutcomes, PackedTasks, SubmissionState};
use hashmesh_database::Database;
use proptest::{
    collection::vec,
    prelude::*,
    strategy::ValueTree as _,
    test_runner::{Config, TestRng, TestRunner},
};
use prost::Message as _;
use uuid::Uuid;

use super::{
    super::{
        ResultsLimit, batch_fingerprint, dead_letters, load_batches, load_one, load_unfinished,
        model::{NewBatch, Recovered, RecoveredBatch, Totals, Unit, WantedBatches, Write},
        named_batch, results, submission,
    },
    cluster::database,
    fixture::{ALGORITHMS, LONG, Owner, PART_BYTES, batch, cancel, create, digests, new_id, unit},
};
use crate::shard::ShardSet;

/// A submission: what becomes of each task, and how that is written.
#[derive(Clone, Debug)]
struct Plan {
    batches: Vec<PlannedBatch>,
    end: End,
    /// Neighbouring tasks per row of results, at most.
    run: usize,
    /// Results of later batches come first.
    backwards: bool,
}

#[derive(Clone, Debug)]
struct PlannedBatch {
    /// Per task: 0 has no outcome, 1 to 3 is its status.
    tasks: Vec<u8>,
    names: Option<Vec<Vec<u8>>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Open,
    Sealed,
    Cancelled,
}

fn plans() -> impl Strategy<Value = Vec<Plan>> {
    // The second kind is resolved without a failure, so that its inputs may be left out.
    let tasks = prop_oneof![vec(0_u8..4, 1..9), vec(1_u8..3, 1..9)];
    let planned = (tasks, any::<bool>(), vec(vec(any::<u8>(), 0..6), 9))
        .prop_map(|(tasks, named, names)| PlannedBatch { names: named.then(|| names[..tasks.len()].to_vec()), tasks });
    let end = prop_oneof![Just(End::Open), Just(End::Sealed), Just(End::Cancelled)];
    let plan = (vec(planned, 0..5), end, 1_usize..5, any::<bool>()).prop_map(|(batches, end, run, backwards)| Plan {
        batches,
        end,
        run,
        backwards,
    });
    vec(plan, 1..5)
}

/// What a plan comes to.
struct Written {
    id: Uuid,
    writes: Vec<Write>,
    batches: Vec<NewBatch>,
    /// (sequence, first task, statuses), by position.
    runs: Vec<(u32, u32, Vec<u8>)>,
    totals: Totals,
    state: SubmissionState,
}

fn written(plan: &Plan) -> Written {
    let mut accepted = 0;
    let batches: Vec<NewBatch> = (0..)
        .zip(&plan.batches)
        .map(|(sequence, planned)| {
            let count = u32::try_from(planned.tasks.len()).unwrap();
            accepted += u64::from(count);
            let names: Option<Vec<&[u8]>> =
                planned.names.as_ref().map(|names| names.iter().map(Vec::as_slice).collect());
            batch(sequence, count, accepted, names.as_deref())
        })
        .collect();

    let mut runs = Vec::new();
    for (sequence, planned) in (0..).zip(&plan.batches) {
        let mut first = 0;
        for piece in planned.tasks.chunk_by(|a, b| (*a == 0) == (*b == 0)) {
            for statuses in piece.chunks(plan.run) {
                if statuses[0] != 0 {
                    runs.push((sequence, first, statuses.to_vec()));
                }
                first += u32::try_from(statuses.len()).unwrap();
            }
        }
    }
    if plan.backwards {
        runs.reverse();
    }

    let mut totals = Totals::default();
    let mut writes = vec![create()];
    writes.extend(batches.iter().cloned().map(Write::Batch));
    for (sequence, first, statuses) in &runs {
        let row = super::fixture::results(*sequence, *first, statuses, totals);
        totals = row.totals;
        writes.push(Write::Results(row));
    }
    let complete = totals.recorded() == accepted;
    let state = match plan.end {
        End::Open => SubmissionState::Open,
        End::Sealed if complete => SubmissionState::Completed,
        End::Sealed => SubmissionState::Sealed,
        End::Cancelled => SubmissionState::Cancelled,
    };
    if plan.end == End::Sealed {
        writes.push(Write::Seal { batch_count: u32::try_from(batches.len()).unwrap() });
    }
    match state {
        SubmissionState::Completed => writes.push(Write::Complete),
        SubmissionState::Cancelled => writes.push(cancel()),
        _ => {}
    }
    Written { id: new_id(), writes, batches, runs, totals, state }
}

/// Cuts each submission's writes into units, and mixes the units of all, each submission's in order.
fn units(all: &[Written], cut: usize) -> Vec<Unit> {
    let mut queues: Vec<_> = all.iter().map(|one| (one.id, one.writes.chunks(cut))).collect();
    let mut units = Vec::new();
    while !queues.is_empty() {
        queues.retain_mut(|(id, chunks)| chunks.next().map(|writes| units.push(unit(*id, writes))).is_some());
    }
    units
}

#[tokio::test]
async fn what_is_read_back_is_what_was_written() {
    let db = database().await;
    let mut owner = Owner::new(&db, LONG).await;
    let config = Config::with_cases(0);
    let rng = TestRng::deterministic_rng(config.rng_algorithm);
    let mut runner = TestRunner::new_with_rng(config, rng);
    let mut unfinished: BTreeMap<Uuid, Written> = BTreeMap::new();
    let mut elided = 0;
    for case in 0..40 {
        let plans = plans().new_tree(&mut runner).unwrap().current();
        let all: Vec<Written> = plans.iter().map(written).collect();
        let mut left_out = BTreeSet::new();
        for group in units(&all, 1 + case % 4).chunks(1 + case % 7 * 4) {
            owner.write(group).await;
            left_out.extend(resolved_within(group));
        }
        elided += left_out.len();
        for one in all {
            check_submission(&db, &one).await;
            check_batches(&db, &one, &left_out).await;
            check_results(&db, &one).await;
            let recovered = load_one(&db, one.id).await.unwrap();
            if matches!(one.state, SubmissionState::Open | SubmissionState::Sealed) {
                check_recovered(&recovered.unwrap(), &one);
                unfinished.insert(one.id, one);
            } else {
                assert!(recovered.is_none());
            }
        }
    }
    let recovered = load_unfinished(&db, ShardSet::ALL, 10_000).await.unwrap();
    assert_eq!(recovered.len(), unfinished.len());
    for one in &recovered {
        check_recovered(one, &unfinished[&one.id]);
    }
    for count in 1..4 {
        check_pages(&db, &unfinished, count).await;
    }
    assert!(load_one(&db, new_id()).await.unwrap().is_none());
    assert!(elided >= 10, "only {elided} batches were resolved by the transaction that stored them");
}

async fn check_submission(db: &Database, one: &Written) {
    let (tenant, found) = submission(db, one.id).await.unwrap().unwrap();
    assert_eq!(tenant, "default");
    assert_eq!(found.state(), one.state);
    assert_eq!(found.next_sequence as usize, one.batches.len());
    let accepted = one.batches.last().map_or(0, |batch| batch.accepted_through);
    assert_eq!(found.accepted_tasks, accepted);
    // Promise 6: the newest row's counters are those of all rows together.
    let totals = Totals {
        succeeded: found.succeeded_tasks,
        mismatched: found.mismatched_tasks,
        failed: found.failed_tasks,
        hashed_bytes: found.hashed_bytes,
    };
    assert_eq!(totals, one.totals);
    assert_eq!(found.recorded_tasks, one.totals.recorded());
    let cancelled = if one.state == SubmissionState::Cancelled { accepted - one.totals.recorded() } else { 0 };
    assert_eq!(found.cancelled_tasks, cancelled);
    let ended = matches!(one.state, SubmissionState::Completed | SubmissionState::Cancelled);
    assert_eq!(found.end_time.is_some(), ended);
    assert!(found.create_time.unwrap().seconds > 1_500_000_000);
    let options = found.options.unwrap();
    assert_eq!(options.algorithms, ALGORITHMS.map(|algorithm| algorithm as i32));
    assert_eq!(options.part_bytes, PART_BYTES);
    assert_eq!((options.labels["purpose"].as_str(), options.max_attempts), ("a \"test\" \\ ü", 5));
}

/// The batches whose inputs may be left out, task by task: inline ones with a good outcome for each of their tasks in the
/// same group.
fn resolved_within(group: &[Unit]) -> Vec<(Uuid, u32)> {
    let mut good: BTreeSet<(Uuid, u32, u32)> = BTreeSet::new();
    let writes = || group.iter().flat_map(|unit| unit.writes.iter().map(|write| (unit.submission, write)));
    for (id, write) in writes() {
        let Write::Results(row) = write else { continue };
        for (offset, task) in (0..).zip(row.first_task..row.first_task + row.task_count) {
            if row.statuses.as_ref().is_none_or(|statuses| statuses[offset] != 3) {
                good.insert((id, row.sequence, task));
            }
        }
    }
    writes()
        .filter_map(|(id, write)| match write {
            Write::Batch(batch) if batch.reference_prefix.is_none() => Some((id, batch)),
            _ => None,
        })
        .filter(|(id, batch)| (0..batch.task_count).all(|task| good.contains(&(*id, batch.sequence, task))))
        .map(|(id, batch)| (id, batch.sequence))
        .collect()
}

async fn check_batches(db: &Database, one: &Written, left_out: &BTreeSet<(Uuid, u32)>) {
    for stored in &one.batches {
        let fingerprint = batch_fingerprint(db, one.id, stored.sequence).await.unwrap();
        assert_eq!(fingerprint, Some(stored.fingerprint));
        let found = named_batch(db, one.id, stored.sequence).await.unwrap().unwrap();
        assert_eq!(found.names, stored.names);
        let tasks = if left_out.contains(&(one.id, stored.sequence)) { Bytes::new() } else { stored.tasks.clone() };
        assert_eq!(PackedTasks { names: None, ..found }, PackedTasks::decode(tasks).unwrap());
    }
    let none = u32::try_from(one.batches.len()).unwrap();
    assert!(batch_fingerprint(db, one.id, none).await.unwrap().is_none());
    assert!(named_batch(db, one.id, u32::MAX).await.unwrap().is_none());
}

async fn check_results(db: &Database, one: &Written) {
    let expected: Vec<_> = one
        .runs
        .iter()
        .flat_map(|(sequence, first, statuses)| {
            (*first..).zip(statuses).map(|(task, status)| (*sequence, task, *status))
        })
        .collect();
    for after in 0..=expected.len() + 1 {
        let limit = ResultsLimit { tasks: 1 + after as u64 % 4, bytes: if after % 2 == 0 { 1 } else { 100_000 } };
        let mut position = after as u64;
        let mut found: Vec<Outcome> = Vec::new();
        loop {
            let page = results(db, one.id, position, limit).await.unwrap();
            let page: Vec<PackedOutcomes> = page.into_iter().map(|row| row.outcomes).collect();
            let Some(last) = page.last() else { break };
            assert!(page.iter().map(|run| u64::from(run.task_count)).sum::<u64>() <= limit.tasks);
            position = last.through_position();
            found.extend(page.into_iter().flat_map(PackedOutcomes::into_rows));
        }
        let tail = expected.get(after..).unwrap_or_default();
        assert_eq!(found.len(), tail.len());
        for ((position, outcome), (sequence, task, status)) in (after as u64 + 1..).zip(&found).zip(tail) {
            check_outcome(one, outcome, position, (*sequence, *task, *status));
        }
    }
    let mut dead = Vec::new();
    let mut position = 0;
    loop {
        let page = dead_letters(db, one.id, position, 2).await.unwrap();
        let Some(last) = page.last() else { break };
        position = last.through_position();
        dead.extend(
            page.iter().flat_map(|run| (0..run.task_count).map(|offset| (run.sequence, run.first_task + offset))),
        );
    }
    let failed = expected.iter().filter(|(_, _, status)| *status == 3).map(|(sequence, task, _)| (*sequence, *task));
    assert!(failed.eq(dead));
}

fn check_outcome(one: &Written, outcome: &Outcome, position: u64, (sequence, task, status): (u32, u32, u8)) {
    assert_eq!((outcome.position, outcome.sequence, outcome.task), (position, sequence, task));
    assert_eq!(outcome.status(), OutcomeStatus::try_from(i32::from(status)).unwrap());
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let expected = digests(sequence, task);
    let found: Vec<&str> = outcome.digests.iter().map(|digest| digest.hex.as_str()).collect();
    let wanted = [hex(&expected[..32]), hex(&expected[32..])];
    assert_eq!(found, if status == 3 { vec![] } else { wanted.iter().map(String::as_str).collect() });
    assert_eq!(outcome.error.is_some(), status == 3);
    let names = one.batches[sequence as usize].names.as_ref();
    let name = names.and_then(|names| names.iter().nth(task as usize)).unwrap_or_default();
    let found = if outcome.raw_name.is_empty() { outcome.name.as_bytes() } else { &outcome.raw_name[..] };
    assert_eq!(found, &name[..]);
}

fn check_recovered(found: &Recovered, one: &Written) {
    assert_eq!((found.id, found.tenant.as_str(), found.max_attempts), (one.id, "default", 5));
    assert_eq!((&found.algorithms[..], found.part_bytes), (&ALGORITHMS[..], PART_BYTES));
    let sealed = one.state == SubmissionState::Sealed;
    assert_eq!(found.batch_count, sealed.then_some(u32::try_from(one.batches.len()).unwrap()));
    assert_eq!((found.totals, found.resolved_through), (one.totals, 0));
    let accepted = one.batches.last().map_or(0, |batch| batch.accepted_through);
    assert_eq!((found.next_sequence as usize, found.accepted_tasks), (one.batches.len(), accepted));
    let loaded = found.loaded.as_ref().unwrap();
    assert_eq!((loaded.from, loaded.through, loaded.outcomes_behind), (0, found.next_sequence, false));
    check_loaded(&loaded.batches, &unresolved(one));
}

/// Each unresolved batch with the runs of its tasks that have outcomes.
fn unresolved(one: &Written) -> Vec<(&NewBatch, Vec<(u32, u32)>)> {
    let recorded = one.batches.iter().map(|stored| {
        let mut tasks: Vec<u32> = one
            .runs
            .iter()
            .filter(|run| run.0 == stored.sequence)
            .flat_map(|(_, first, statuses)| (*first..).take(statuses.len()))
            .collect();
        tasks.sort_unstable();
        let runs = tasks.chunk_by(|a, b| a + 1 == *b).map(|run| (run[0], u32::try_from(run.len()).unwrap()));
        (stored, runs.collect::<Vec<_>>())
    });
    recorded.filter(|(stored, runs)| runs.iter().map(|run| run.1).sum::<u32>() < stored.task_count).collect()
}

fn check_loaded(found: &[RecoveredBatch], expected: &[(&NewBatch, Vec<(u32, u32)>)]) {
    assert_eq!(found.len(), expected.len());
    for (found, (stored, recorded)) in found.iter().zip(expected) {
        assert_eq!((found.sequence, found.task_count), (stored.sequence, stored.task_count));
        assert_eq!((found.byte_count, found.fingerprint), (stored.byte_count, stored.fingerprint));
        assert_eq!((&found.reference_prefix, &found.recorded), (&stored.reference_prefix, recorded));
        assert!(found.leases.is_empty());
    }
}

/// Batches are loaded page by page, for several submissions at once: together the pages are all that is unresolved.
async fn check_pages(db: &Database, all: &BTreeMap<Uuid, Written>, count: u32) {
    let mut pages: BTreeMap<Uuid, Vec<RecoveredBatch>> = BTreeMap::new();
    let mut wanted: Vec<WantedBatches> =
        load_unfinished(db, ShardSet::ALL, 0).await.unwrap().iter().map(|one| one.wants(count)).collect();
    while !wanted.is_empty() {
        let loaded = load_batches(db, &wanted).await.unwrap();
        for (request, page) in wanted.iter_mut().zip(&loaded) {
            assert!(page.batches.len() <= count as usize);
            let one = &all[&request.submission];
            let behind = one.runs.iter().any(|(sequence, ..)| *sequence >= page.through);
            assert_eq!((page.from, page.outcomes_behind), (request.from, behind));
            pages.entry(request.submission).or_default().extend(page.batches.iter().cloned());
            request.from = page.through;
        }
        wanted.retain(|request| request.from < request.stored);
    }
    for (id, found) in &pages {
        check_loaded(found, &unresolved(&all[id]));
    }
}
