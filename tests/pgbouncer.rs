//! A mesh whose reads go through PgBouncer in transaction mode, where each may meet another session.

use hashmesh::{
    gateway::v1::{GetStatsRequest, ListSubmissionsRequest, OpenSubmission},
    v1::SubmissionState,
};

use crate::{
    history::writer::transient,
    support::{
        Database, Gateway, Role,
        mesh::get_page,
        pgbouncer::PgBouncer,
        raw::packed,
        rundir,
        wait::{PATIENCE, until},
    },
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mesh_reads_through_pgbouncer_and_writes_beside_it() {
    let database = Database::create().await;
    let bouncer = PgBouncer::start("pgbouncer", &database.url).await;
    let directory = rundir::directory("pgbouncer-mesh");
    let role = async |role: &'static str, arguments: &[&str]| {
        let arguments = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        Role::start(role, role, arguments, &[], directory.clone()).await
    };
    let direct = ["--database-url", &database.url, "--database-pool-url", &bouncer.url(), "--no-migrate"];
    let mut queue = role("queue", &direct).await;
    let mut hash = role("hash", &[]).await;
    let mut gateway = role("gateway", &["--queue", &queue.url(), "--hash", &hash.url()]).await;
    let mut worker = role("worker", &["--queue", &queue.url(), "--threads", "1"]).await;
    for role in [&mut queue, &mut hash, &mut gateway, &mut worker] {
        role.ready().await;
    }

    let mut client = Gateway::connect(&gateway.url()).await;
    let mut ids = Vec::new();
    for _ in 0..3 {
        let (mut stream, opened) = client.open_new().await;
        for sequence in 0..10 {
            stream.batch(sequence, packed(vec!["input"; 100])).await;
        }
        stream.seal(10).await;
        stream.finish();
        stream.end().await.1.expect("it ends well");
        client.reaches(&opened.submission_id, SubmissionState::Completed).await;
        ids.push(opened.submission_id);
    }
    // Many at once, over two sessions of Postgres.
    let reads = (0..30).map(|place| {
        let (mut client, id) = (client.clone(), ids[place % ids.len()].clone());
        tokio::spawn(async move {
            assert_eq!(client.outcomes_after(&id, 0).await.len(), 1_000);
            let listed = client.list_submissions(ListSubmissionsRequest::default()).await.expect("a list").into_inner();
            assert_eq!(listed.submissions.len(), 3);
            client.get_stats(GetStatsRequest {}).await.expect("an answer");
        })
    });
    for read in reads.collect::<Vec<_>>() {
        read.await.expect("no panic");
    }
    let (status, stats) = get_page(&queue.admin, "/db/pool/stats").await.expect("a page");
    assert_eq!((status, &stats["breaker"]), (200, &"closed".into()));
    assert!(stats["opened_total"].as_u64().is_some_and(|opened| opened > 0), "{stats}");
    assert!(bouncer.log().contains("login attempt"), "nobody came: {}", bouncer.log());

    // A Queue that is started anew recovers, and one that is stopped gives the shards back.
    queue.restart().await;
    queue.ready().await;
    let (mut stream, opened) =
        until("the Gateway to reach it again", PATIENCE, async || match client.open(OpenSubmission::default()).await {
            Err(status) if transient(&status) => None,
            opened => Some(opened.expect("a new submission opens")),
        })
        .await;
    stream.batch(0, packed(["once more"])).await;
    stream.seal(1).await;
    stream.finish();
    stream.end().await.1.expect("it ends well");
    client.reaches(&opened.submission_id, SubmissionState::Completed).await;
    // The leases of the one that was killed lapse one after another.
    until("the Queue to own every shard", PATIENCE, async || {
        (database.value("SELECT count(*) FROM shard_leases WHERE epoch < 2").await == "0").then_some(())
    })
    .await;
    assert!(queue.terminate().await.success());
    assert_eq!(database.value("SELECT count(*) FROM shard_leases WHERE expires_at > now()").await, "0");
}
