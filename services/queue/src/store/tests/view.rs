//! The view `tasks`, for people with psql.

use std::collections::BTreeMap;

use hashmesh_database::Database;

use super::{
    super::{
        Also,
        model::{LeaseRow, Totals, Write},
        write_behind,
    },
    cluster::database,
    fixture::{LONG, Owner, batch, cancel, create, new_id, results, unit},
};

async fn counts(db: &Database) -> BTreeMap<String, i64> {
    let connection = db.pooled().await.unwrap();
    let rows = connection.query("SELECT status, COUNT(*) FROM tasks GROUP BY status", &[]).await.unwrap();
    rows.iter().map(|row| (row.get(0), row.get(1))).collect()
}

fn expected<const N: usize>(counts: [(&str, i64); N]) -> BTreeMap<String, i64> {
    counts.into_iter().map(|(status, count)| (status.to_owned(), count)).collect()
}

#[tokio::test]
async fn every_task_is_counted_once_under_its_status() {
    let db = database().await;
    let mut owner = Owner::new(&db, LONG).await;
    let (open, cancelled, completed) = (new_id(), new_id(), new_id());
    let first = results(0, 1, &[1, 2, 3, 1], Totals::default());
    let second = results(1, 0, &[1; 4], first.totals);
    owner
        .write(&[
            unit(
                open,
                [
                    create(),
                    Write::Batch(batch(0, 10, 10, None)),
                    Write::Batch(batch(1, 4, 14, None)),
                    Write::Results(first.clone()),
                    Write::Results(second),
                ],
            ),
            unit(cancelled, [create(), Write::Batch(batch(0, 10, 10, None)), Write::Results(first), cancel()]),
            unit(
                completed,
                [
                    create(),
                    Write::Batch(batch(0, 2, 2, None)),
                    Write::Seal { batch_count: 1 },
                    Write::Results(results(0, 0, &[1, 1], Totals::default())),
                    Write::Complete,
                ],
            ),
        ])
        .await;
    let held = |first_task, attempt, worker: Option<&str>| LeaseRow {
        submission: open,
        sequence: 0,
        first_task,
        task_count: 2,
        attempt,
        worker: worker.map(str::to_owned),
        strikes: 0,
    };
    let leases = [held(5, 1, Some("w")), held(7, 3, None)];
    write_behind(&db, &owner.ownership, &leases, &[], Also::default()).await.unwrap();

    let all = [("cancelled", 6), ("failed", 2), ("leased", 2), ("mismatched", 2), ("queued", 4), ("succeeded", 10)];
    assert_eq!(counts(&db).await, expected(all));
    let connection = db.pooled().await.unwrap();
    let attempts = "SELECT string_agg(attempt::text, '' ORDER BY task) FROM tasks \
        WHERE submission_id = $1 AND sequence = 0 AND status IN ('queued', 'leased')";
    assert_eq!(connection.query_one(attempts, &[&open]).await.unwrap().get::<_, &str>(0), "111331");
    connection.batch_execute("SET force_parallel_mode = on; SELECT name, status FROM tasks").await.unwrap();
}

#[tokio::test]
async fn names_are_text_where_they_are_utf_8_and_escaped_where_they_are_not() {
    let db = database().await;
    let mut owner = Owner::new(&db, LONG).await;
    // The edges of RFC 3629: each length's first and last, surrogates, overlong forms, behind the last code point.
    let names: Vec<(&[u8], Option<&str>)> = vec![
        (b"", Some("")),
        (b"plain name", Some("plain name")),
        (b"back\\slash\nline", Some("back\\slash\nline")),
        ("\u{80}\u{7FF}\u{800}\u{D7FF}\u{E000}\u{FFFF}\u{10000}\u{10FFFF}".as_bytes(), None),
        ("ümläut/日本/🦀".as_bytes(), Some("ümläut/日本/🦀")),
        (b"caf\xE9", Some("caf\\351")),
        (b"nul\0byte", Some("nul\\000byte")),
        (b"\xED\xA0\x80", Some("\\355\\240\\200")),
        (b"\xC0\xAF", Some("\\300\\257")),
        (b"\xE0\x80\x80", Some("\\340\\200\\200")),
        (b"\xF4\x90\x80\x80", Some("\\364\\220\\200\\200")),
        (b"\xF0\x9F\xA6", Some("\\360\\237\\246")),
        (b"\x80", Some("\\200")),
        (b"\xFFb\\", Some("\\377b\\\\")),
    ];
    let raw: Vec<&[u8]> = names.iter().map(|(name, _)| *name).collect();
    let count = u32::try_from(raw.len()).unwrap();
    let first = results(0, 3, &[1; 4], Totals::default());
    owner
        .write(&[
            unit(
                new_id(),
                [create(), Write::Batch(batch(0, count, u64::from(count), Some(&raw))), Write::Results(first)],
            ),
            unit(new_id(), [create(), Write::Batch(batch(0, 1, 1, None))]),
        ])
        .await;
    let connection = db.pooled().await.unwrap();
    let rows = connection.query("SELECT name FROM tasks ORDER BY submission_id, sequence, task", &[]).await.unwrap();
    let shown: Vec<Option<&str>> = rows.iter().map(|row| row.get(0)).collect();
    let mut wanted: Vec<Option<&str>> =
        names.iter().map(|(name, text)| Some(text.unwrap_or_else(|| str::from_utf8(name).unwrap()))).collect();
    wanted.push(None);
    assert_eq!(shown.len(), wanted.len());
    assert!(wanted.iter().all(|name| shown.contains(name)), "{shown:?}");
    let named: Vec<_> = shown.into_iter().filter(Option::is_some).collect();
    assert_eq!(named, wanted[..names.len()]);
}
