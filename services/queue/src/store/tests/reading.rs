//! Reads that the random submissions do not reach: pages of submissions, large rows, damage.

use std::collections::BTreeMap;

use bytes::Bytes;
use hashmesh::v1::{PackedOutcomes, SubmissionState};
use prost::Message as _;
use uuid::Uuid;

use super::{
    super::{
        ResultsLimit, StoreError, SubmissionsPage, batch_payloads,
        model::{NewSubmission, Totals, Write},
        results, submissions, wal_bytes,
    },
    cluster::database,
    fixture::{self, LONG, Owner, batch, cancel, create, new_id, new_submission, unit},
};

const ALL: ResultsLimit = ResultsLimit { tasks: u64::MAX, bytes: usize::MAX };

#[tokio::test]
async fn pages_of_submissions_are_newest_first_and_filtered() {
    let db = database().await;
    let mut owner = Owner::new(&db, LONG).await;
    let ids: Vec<Uuid> = (0..7).map(|_| new_id()).collect();
    for (index, id) in ids.iter().enumerate() {
        let mut options = NewSubmission {
            labels: BTreeMap::from([("odd".to_owned(), (index % 2).to_string())]),
            retry_of: (index == 4).then_some(ids[0]),
            ..new_submission()
        };
        if index == 6 {
            options.tenant = "other".to_owned();
        }
        let mut writes = vec![Write::Create(options)];
        if index < 2 {
            writes.push(cancel());
        }
        owner.write(&[unit(*id, writes)]).await;
    }
    let none = BTreeMap::new();
    let odd = BTreeMap::from([("odd".to_owned(), "1".to_owned())]);
    let all =
        SubmissionsPage { tenant: "default", page_size: 4, before: None, state: None, labels: &none, retry_of: None };
    let list = async |page: SubmissionsPage<'_>| {
        let (shown, more) = submissions(&db, &page).await.unwrap();
        let shown: Vec<usize> =
            shown.iter().map(|one| ids.iter().position(|id| id.to_string() == one.submission_id).unwrap()).collect();
        (shown, more)
    };
    assert_eq!(list(all).await, (vec![5, 4, 3, 2], true));
    assert_eq!(list(SubmissionsPage { before: Some(ids[2]), ..all }).await, (vec![1, 0], false));
    assert_eq!(list(SubmissionsPage { page_size: 6, ..all }).await, (vec![5, 4, 3, 2, 1, 0], false));
    assert_eq!(list(SubmissionsPage { labels: &odd, ..all }).await, (vec![5, 3, 1], false));
    let cancelled = SubmissionsPage { state: Some(SubmissionState::Cancelled), ..all };
    assert_eq!(list(cancelled).await, (vec![1, 0], false));
    assert_eq!(list(SubmissionsPage { retry_of: Some(ids[0]), ..all }).await, (vec![4], false));
    assert_eq!(list(SubmissionsPage { tenant: "other", ..all }).await, (vec![6], false));
    assert_eq!(list(SubmissionsPage { tenant: "nobody", ..all }).await, (vec![], false));
    assert!(wal_bytes(&db).await.unwrap() > 0);
}

#[tokio::test]
async fn a_read_of_results_stops_at_its_bytes_and_goes_on_where_it_stopped() {
    let db = database().await;
    let mut owner = Owner::new(&db, LONG).await;
    let id = new_id();
    let mut writes = vec![create()];
    let mut totals = Totals::default();
    for sequence in 0..20 {
        let names: Vec<Vec<u8>> = (0..1_000).map(|task| format!("{sequence}/{task}").into_bytes()).collect();
        let names: Vec<&[u8]> = names.iter().map(Vec::as_slice).collect();
        writes.push(Write::Batch(batch(sequence, 1_000, 1_000 * (u64::from(sequence) + 1), Some(&names))));
    }
    for sequence in 0..20 {
        let row = fixture::results(sequence, 0, &[1; 1_000], totals);
        totals = row.totals;
        writes.push(Write::Results(row));
    }
    owner.write(&[unit(id, writes)]).await;

    // A row is 48,000 bytes of digests and some names: two rows reach 60,000.
    let mut position = 1_500;
    let mut seen = 1_500;
    while seen < 20_000 {
        let limit = ResultsLimit { tasks: u64::MAX, bytes: 60_000 };
        let page = results(&db, id, position, limit).await.unwrap();
        let page: Vec<PackedOutcomes> = page.into_iter().map(|row| row.outcomes).collect();
        assert!((1..=2).contains(&page.len()), "{} rows", page.len());
        for run in &page {
            assert_eq!(run.first_position, seen + 1);
            let first = format!("{}/{}", run.sequence, run.first_task);
            assert_eq!(run.names.as_ref().unwrap().iter().next().unwrap(), first.as_bytes());
            seen += u64::from(run.task_count);
        }
        position = page.last().unwrap().through_position();
    }
    assert_eq!(results(&db, id, 20_000, ALL).await.unwrap(), []);
    assert_eq!(results(&db, id, u64::MAX, ALL).await.unwrap(), []);
    assert_eq!(results(&db, id, 0, ResultsLimit { tasks: 0, ..ALL }).await.unwrap(), []);
}

#[tokio::test]
async fn a_batch_of_any_size_comes_back_byte_for_byte() {
    let db = database().await;
    let mut owner = Owner::new(&db, LONG).await;
    let id = new_id();
    let mut writes = vec![create()];
    let payloads: Vec<Bytes> = [0, 1, 1_999, 8_192, 4 * 1024 * 1024]
        .into_iter()
        .map(|size| (0..size).map(|byte: usize| u8::try_from(byte * 7 % 256).unwrap()).collect())
        .collect();
    for (sequence, payload) in (0..).zip(&payloads) {
        let mut stored = batch(sequence, 1, u64::from(sequence) + 1, Some(&[b"n\xFF"]));
        stored.tasks = payload.clone();
        writes.push(Write::Batch(stored));
    }
    owner.write(&[unit(id, writes)]).await;
    for (sequence, payload) in (0..).zip(&payloads) {
        let (found, tasks, names) = batch_payloads(&db, id, &[sequence, 77]).await.unwrap().pop().unwrap();
        assert_eq!(found, sequence);
        assert_eq!(tasks, payload);
        assert_eq!(names.unwrap().data, &b"n\xFF"[..]);
    }
    assert!(batch_payloads(&db, id, &[5]).await.unwrap().is_empty());
}

#[tokio::test]
async fn damaged_rows_are_reported_and_not_passed_on() {
    let db = database().await;
    let mut owner = Owner::new(&db, LONG).await;
    let id = new_id();
    let first = fixture::results(0, 0, &[1, 1], Totals::default());
    let mut gapped = fixture::results(0, 2, &[1], first.totals);
    gapped.position += 1;
    let mut torn = fixture::results(0, 3, &[1], first.totals);
    torn.position += 2;
    torn.outcomes = PackedOutcomes { digests: vec![0; 48].into(), ..PackedOutcomes::default() }.encode_to_vec().into();
    torn.outcomes.truncate(9);
    let batches = [Write::Batch(batch(0, 4, 4, None))];
    let rows = [first, gapped, torn].map(Write::Results);
    owner.write(&[unit(id, [create()].into_iter().chain(batches).chain(rows).collect::<Vec<_>>())]).await;
    let damaged = |error: Option<StoreError>, what: &str| {
        assert!(matches!(&error, Some(StoreError::Damaged { found, .. }) if found.contains(what)), "{error:?}");
    };
    let two = ResultsLimit { tasks: 2, ..ALL };
    assert_eq!(results(&db, id, 0, two).await.unwrap()[0].outcomes.task_count, 2);
    damaged(results(&db, id, 2, two).await.err(), "position 4 follows position 2");
    damaged(results(&db, id, 4, two).await.err(), "cannot be decoded");
    let holed = new_id();
    let batches = [Write::Batch(batch(0, 4, 4, None)), Write::Batch(batch(2, 4, 8, None))];
    owner.write(&[unit(holed, [create()].into_iter().chain(batches).collect::<Vec<_>>())]).await;
    damaged(super::super::load_one(&db, holed).await.err(), "batch 2 is stored where batch 1 is missing");
}
