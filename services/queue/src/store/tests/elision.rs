//! Which inline bytes a transaction leaves out.

use bytes::Bytes;
use hashmesh_database::Database;
use uuid::Uuid;

use super::{
    super::{
        UnitError,
        model::{NewBatch, NewResults, NewSubmission, Totals, Unit, Write},
        submission,
    },
    cluster::database,
    fixture::{LONG, Owner, batch, create, new_id, new_submission, results, unit},
};

/// An inline batch of two tasks; the even numbers of the fixture are references.
fn inline() -> NewBatch {
    NewBatch { reference_prefix: None, without_inputs: Some(Bytes::new()), ..batch(0, 2, 2, None) }
}

/// Bytes stored of a submission's first batch.
async fn stored_bytes(db: &Database, id: Uuid) -> usize {
    let client = db.pooled().await.unwrap();
    let row = client.query_one("SELECT tasks FROM batches WHERE submission_id = $1", &[&id]).await.unwrap();
    row.get::<_, &[u8]>(0).len()
}

fn both(statuses: [u8; 2]) -> NewResults {
    results(0, 0, &statuses, Totals::default())
}

/// A batch and what of it is recorded, over these transactions.
async fn stored(owner: &mut Owner, batch: NewBatch, transactions: &[&[NewResults]]) -> usize {
    let id = new_id();
    let mut first = vec![unit(id, [create()]), unit(id, [Write::Batch(batch)])];
    for rows in transactions {
        first.extend(rows.iter().map(|row| unit(id, [Write::Results(row.clone())])));
        owner.write(&first).await;
        first.clear();
    }
    stored_bytes(&owner.db, id).await
}

#[tokio::test]
async fn inputs_are_left_out_only_if_their_transaction_records_a_good_outcome_for_each_task() {
    let db = database().await;
    let mut owner = Owner::new(&db, LONG).await;
    let whole = inline().tasks.len();
    let first = results(0, 0, &[1], Totals::default());
    let second = results(0, 1, &[2], first.totals);

    assert_eq!(stored(&mut owner, inline(), &[&[both([1, 1])]]).await, 0, "all succeeded");
    assert_eq!(stored(&mut owner, inline(), &[&[both([1, 2])]]).await, 0, "one mismatched");
    assert_eq!(stored(&mut owner, inline(), &[&[first.clone(), second.clone()]]).await, 0, "in two parts");

    assert_eq!(stored(&mut owner, inline(), &[&[both([1, 3])]]).await, whole, "one failed");
    assert_eq!(stored(&mut owner, inline(), &[&[]]).await, whole, "no outcome is known");
    assert_eq!(stored(&mut owner, inline(), &[std::slice::from_ref(&first)]).await, whole, "one outcome is not known");
    assert_eq!(stored(&mut owner, inline(), &[&[], &[both([1, 1])]]).await, whole, "the outcomes come later");
    assert_eq!(stored(&mut owner, inline(), &[&[first], &[second]]).await, whole, "one outcome comes later");
    let kept = NewBatch { without_inputs: None, ..inline() };
    assert_eq!(stored(&mut owner, kept, &[&[both([1, 1])]]).await, whole, "inputs are to be kept");
}

#[tokio::test]
async fn a_group_that_falls_apart_leaves_out_only_what_its_own_units_resolve() {
    let db = database().await;
    let mut owner = Owner::new(&db, LONG).await;
    let (apart, together) = (new_id(), new_id());
    let group: [Unit; 5] = [
        unit(apart, [create(), Write::Batch(inline())]),
        unit(together, [create(), Write::Batch(inline()), Write::Results(both([1, 1]))]),
        unit(apart, [Write::Results(both([1, 1]))]),
        // Never created: the group is refused, and written unit by unit.
        unit(new_id(), [Write::Seal { batch_count: 1 }]),
        unit(apart, [Write::Seal { batch_count: 1 }, Write::Complete]),
    ];
    let answers = owner.lane.commit(&group).await.unwrap();
    assert!(matches!(answers[..], [Ok(_), Ok(_), Ok(_), Err(UnitError::Refused(_)), Ok(_)]), "{answers:?}");
    assert_eq!(stored_bytes(&db, apart).await, inline().tasks.len());
    assert_eq!(stored_bytes(&db, together).await, 0);
}

#[tokio::test]
async fn a_submission_remembers_that_its_inputs_are_kept() {
    let db = database().await;
    let mut owner = Owner::new(&db, LONG).await;
    for keep_inputs in [false, true] {
        let id = new_id();
        owner.write(&[unit(id, [Write::Create(NewSubmission { keep_inputs, ..new_submission() })])]).await;
        assert_eq!(super::super::load_one(&db, id).await.unwrap().unwrap().keep_inputs, keep_inputs);
        let (_, found) = submission(&db, id).await.unwrap().unwrap();
        assert_eq!(found.options.unwrap().keep_inputs, keep_inputs);
    }
}
