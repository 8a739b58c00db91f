//! The statements of the previous version, frozen: in a rolling upgrade it works on the newest schema for a while.

use hashmesh_database::{
    Database, Dedicated,
    postgres::types::{ToSql, Type},
};
use uuid::Uuid;

use super::fixture::{ALGORITHMS, results};
use crate::{shard::Shard, store::model::Totals};

const LOCK_CLASS: i32 = 0x686d_7368;

/// Creates a submission of `batches` batches with `tasks` tasks each, and records all of them, in one transaction.
/// With `seal` it is sealed and completed.
pub(super) async fn write(connection: &Dedicated, id: Uuid, batches: u32, tasks: u32, seal: bool) {
    let run = async |sql: &str, parameters: &[&(dyn ToSql + Sync)]| {
        connection.execute(sql, parameters).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    };
    let shard = i16::from(Shard::of(id).number());
    let epoch: i64 = connection.query_one("SELECT epoch FROM shards WHERE shard = $1", &[&shard]).await.unwrap().get(0);
    connection.batch_execute("BEGIN").await.unwrap();
    run(include_str!("previous/lock_shards.sql"), &[&LOCK_CLASS, &vec![shard]]).await;
    run(include_str!("previous/check_epochs.sql"), &[&vec![shard], &vec![epoch]]).await;
    let algorithms: Vec<i16> = ALGORITHMS.iter().map(|algorithm| i16::try_from(*algorithm as i32).unwrap()).collect();
    let ids = vec![id];
    run(
        include_str!("previous/create_submissions.sql"),
        &[
            &ids,
            &vec!["default"],
            &vec![shard],
            &vec![1_i32],
            &vec![i32::try_from(algorithms.len()).unwrap()],
            &algorithms,
            &vec![5_i16],
            &vec!["{}"],
            &vec![None::<Uuid>],
            &vec![None::<i32>],
        ],
    )
    .await;
    run(
        include_str!("previous/insert_keys.sql"),
        &[&vec![shard], &vec!["default"], &vec![id.to_string()], &ids, &vec![vec![7_u8; 32]]],
    )
    .await;
    let mut totals = Totals::default();
    let count = i32::try_from(tasks).unwrap();
    for sequence in 0..batches {
        let number = vec![i32::try_from(sequence).unwrap()];
        run(
            include_str!("previous/insert_batches.sql"),
            &[
                &ids,
                &number,
                &vec![count],
                &vec![count * 4],
                &vec![i64::from((sequence + 1) * tasks)],
                &vec![vec![u8::try_from(sequence % 251).unwrap(); 32]],
                &vec![vec![7_u8; 100]],
                &vec![None::<Vec<u8>>],
                &vec![1_i32],
                &vec![0_i32],
                &Vec::<i32>::new(),
                &vec![None::<String>],
            ],
        )
        .await;
        let row = results(sequence, 0, &vec![1; tasks as usize], totals);
        totals = row.totals;
        run(
            include_str!("previous/insert_results.sql"),
            &[
                &ids,
                &vec![i64::try_from(row.position).unwrap()],
                &number,
                &vec![0_i32],
                &vec![count],
                &vec![1_i16],
                &vec![None::<Vec<u8>>],
                &vec![row.outcomes.to_vec()],
                &vec![row.kernel],
                &vec![i64::try_from(totals.succeeded).unwrap()],
                &vec![0_i64],
                &vec![0_i64],
                &vec![i64::try_from(totals.hashed_bytes).unwrap()],
            ],
        )
        .await;
    }
    if seal {
        run(include_str!("previous/seal.sql"), &[&ids, &vec![i32::try_from(batches).unwrap()]]).await;
        run(include_str!("previous/complete.sql"), &[&ids]).await;
    }
    connection.batch_execute("COMMIT").await.unwrap();
}

/// What the previous version reads of a submission: rows of it, of the list, and of its outcomes.
pub(super) async fn read(connection: &Dedicated, id: Uuid) -> [usize; 3] {
    let (none, labels, all) = (None::<Uuid>, "{}", i64::MAX);
    let one = connection.query_typed(include_str!("previous/submission.sql"), &[(&id, Type::UUID)]).await.unwrap();
    let listed = connection
        .query_typed(
            include_str!("previous/submissions.sql"),
            &[
                (&"default", Type::TEXT),
                (&none, Type::UUID),
                (&None::<String>, Type::TEXT),
                (&labels, Type::TEXT),
                (&none, Type::UUID),
                (&1_000_i64, Type::INT8),
            ],
        )
        .await
        .unwrap();
    let outcomes = connection
        .query_typed(
            include_str!("previous/results.sql"),
            &[(&id, Type::UUID), (&0_i64, Type::INT8), (&all, Type::INT8), (&all, Type::INT8)],
        )
        .await
        .unwrap();
    [one.len(), listed.len(), outcomes.len()]
}

/// An id of this many days ago, and its place among those of the same moment.
pub(super) async fn id_of(db: &Database, days_ago: i32, number: u32) -> Uuid {
    let connection = db.pooled().await.unwrap();
    let first: Uuid = connection
        .query_one(
            "SELECT rpad(lpad(to_hex(floor(extract(epoch FROM now() - $1 * interval '1 day') * 1000)::bigint), 12, '0'), \
             32, '0')::uuid",
            &[&f64::from(days_ago)],
        )
        .await
        .unwrap()
        .get(0);
    let mut bytes = *first.as_bytes();
    bytes[6] = 0x70;
    bytes[8] = 0x80;
    bytes[12..].copy_from_slice(&number.to_be_bytes());
    Uuid::from_bytes(bytes)
}
