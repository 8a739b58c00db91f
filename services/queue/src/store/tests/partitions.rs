//! Days: made ahead, and made of what was stored before there were any.

use hashmesh_database::Database;

use super::{
    super::{
        Maintenance, ResultsLimit, SubmissionsPage,
        model::{Totals, Write},
        results, submission, submissions,
    },
    cluster::{database, database_of_version},
    fixture::{LONG, Owner, batch, create, new_id, number, results as outcomes, unit, unlocked},
    previous::{self, id_of},
};
use crate::maintenance::{StorageStatus, adopt, make};

const ALL: ResultsLimit = ResultsLimit { tasks: u64::MAX, bytes: usize::MAX };

/// One round of maintenance, as far as days are concerned.
async fn maintain(db: &Database) -> hashmesh::v1::StorageStats {
    let status = StorageStatus::default();
    let tables = Maintenance::open(db).await.unwrap().unwrap();
    adopt(&tables).await.unwrap();
    make(&tables, &status).await.unwrap();
    drop(tables);
    unlocked(db).await;
    status.stats()
}

#[tokio::test]
async fn days_are_made_a_week_ahead_and_rows_go_where_they_belong() {
    let db = database().await;
    let stats = maintain(&db).await;
    assert_eq!((stats.day_partitions, stats.days_ahead), (8, 7));
    assert!(!stats.default_partition_used);
    assert_eq!(maintain(&db).await, stats, "a second time changes nothing");

    let mut owner = Owner::new(&db, LONG).await;
    let id = new_id();
    let row = outcomes(0, 0, &[1, 2, 3], Totals::default());
    owner.write(&[unit(id, [create(), Write::Batch(batch(0, 3, 3, None)), Write::Results(row)])]).await;
    for table in ["batches", "results"] {
        let in_day = format!(
            "SELECT COUNT(*) FROM {table} WHERE tableoid = to_regclass('{table}' || to_char(day_of(submission_id), '_YYYYMMDD'))"
        );
        assert_eq!(number(&db, &in_day).await, 1, "{table}");
    }
    assert_eq!(number(&db, "SELECT COUNT(*) FROM tasks WHERE status = 'failed'").await, 1);
}

#[tokio::test]
async fn an_id_of_no_day_is_served_from_the_default_partition_and_noticed() {
    let db = database().await;
    maintain(&db).await;
    let mut owner = Owner::new(&db, LONG).await;
    // A clock that is 60 days ahead.
    let id = id_of(&db, -60, 1).await;
    owner.write(&[unit(id, [create(), Write::Batch(batch(0, 3, 3, None))])]).await;
    let stats = maintain(&db).await;
    assert!(stats.default_partition_used);
    assert_eq!(stats.days_ahead, 7);
    assert_eq!(submission(&db, id).await.unwrap().unwrap().1.accepted_tasks, 3);
    let day = number(&db, "SELECT (day_of(submission_id) - date '1970-01-01')::bigint FROM batches_default").await;
    let tables = Maintenance::open(&db).await.unwrap().unwrap();
    let made = tables.make_day("batches", i32::try_from(day).unwrap()).await.unwrap();
    assert_eq!(made, super::super::Change::Occupied);
}

#[tokio::test]
async fn one_process_looks_after_the_tables() {
    let db = database().await;
    let first = Maintenance::open(&db).await.unwrap();
    assert!(first.is_some());
    assert!(Maintenance::open(&db).await.unwrap().is_none());
    drop(first);
    unlocked(&db).await;
    assert!(Maintenance::open(&db).await.unwrap().is_some());
}

/// Data of the first version, upgraded while somebody reads for long and the previous version goes on writing.
#[tokio::test]
async fn a_database_of_the_first_version_is_upgraded_under_load_and_nothing_changes_for_either_version() {
    let (db, config) = database_of_version(1).await;
    let before = db.dedicated("previous").await.unwrap();
    let mut ids = Vec::new();
    for age in 0..40 {
        let id = id_of(&db, age, 1).await;
        previous::write(&before, id, 3, 4, age % 2 == 0).await;
        ids.push(id);
    }
    let first = ids[0];
    assert_eq!(previous::read(&before, first).await, [1, 40, 3]);
    let contents = async |through| {
        let sql = format!(
            "SELECT hashtextextended(string_agg(rows::text, ';' ORDER BY rows::text), 0) \
             FROM (SELECT (to_jsonb(batches) - 'listed_to' - 'trace_context')::text FROM batches \
                   WHERE submission_id <= '{through}' \
                   UNION ALL SELECT (to_jsonb(results) - 'trace_context')::text FROM results \
                   WHERE submission_id <= '{through}') AS rows"
        );
        number(&db, &sql).await
    };
    let as_before = contents(first).await;
    let counted = "SELECT COUNT(*) FROM tasks WHERE status = 'succeeded'";
    assert_eq!(number(&db, counted).await, 40 * 12);

    // A report that goes on until the migration has waited for it more than once.
    let report = db.dedicated("report").await.unwrap();
    report.batch_execute("BEGIN; SELECT COUNT(*) FROM batches").await.unwrap();
    let migration = tokio::spawn(async move { hashmesh_database::migrate(&config).await });
    let watcher = db.dedicated("watcher").await.unwrap();
    for wanted in [true, false, true] {
        let waits = "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE application_name = 'hashmesh/migrate' \
                     AND datname = current_database() AND wait_event_type = 'Lock')";
        while watcher.query_one(waits, &[]).await.unwrap().get::<_, bool>(0) != wanted {}
    }
    // The previous version is not stopped meanwhile, and not afterwards.
    let during = id_of(&db, 0, 2).await;
    previous::write(&before, during, 3, 4, true).await;
    report.batch_execute("COMMIT").await.unwrap();
    let report = migration.await.unwrap().unwrap();
    assert!(report.version >= 2);
    let after = id_of(&db, 0, 3).await;
    previous::write(&before, after, 3, 4, true).await;

    let stats = maintain(&db).await;
    assert_eq!(stats.days_ahead, 7, "{stats:?}");
    assert!(!stats.default_partition_used);
    let last = id_of(&db, 0, 4).await;
    previous::write(&before, last, 3, 4, true).await;
    let ahead = id_of(&db, -6, 5).await;
    previous::write(&before, ahead, 3, 4, true).await;
    assert_eq!(number(&db, "SELECT COUNT(*) FROM batches_default").await, 0);
    assert_eq!(number(&db, "SELECT COUNT(*) FROM partitions WHERE kind = 'before' AND attached").await, 2);
    assert_eq!(number(&db, counted).await, 44 * 12);

    // Both versions read what was and what is new.
    assert_eq!(contents(first).await, as_before);
    ids.extend([during, after, last, ahead]);
    for id in &ids {
        let (_, found) = submission(&db, *id).await.unwrap().unwrap();
        assert_eq!((found.accepted_tasks, found.succeeded_tasks), (12, 12));
        let rows = results(&db, *id, 0, ALL).await.unwrap();
        assert_eq!(rows.iter().map(|row| row.outcomes.task_count).sum::<u32>(), 12);
        assert_eq!(previous::read(&before, *id).await, [1, 44, 3]);
    }
    let page = SubmissionsPage {
        tenant: "default",
        page_size: 100,
        before: None,
        state: None,
        labels: &std::collections::BTreeMap::new(),
        retry_of: None,
    };
    let (listed, more) = submissions(&db, &page).await.unwrap();
    assert_eq!((listed.len(), more), (44, false));
    assert!(listed.iter().all(|one| one.succeeded_tasks == 12));
}
