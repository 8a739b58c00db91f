//! Lists and outcomes that are read from a replica of the database.

use hashmesh::{
    gateway::v1::{
        GetStatsRequest, ListResultsRequest, ListSubmissionsRequest, StreamResultsRequest, SubmitBatchRequest,
        submit_batch_request,
    },
    v1::{DatabaseStats, Outcome, ReplicaState, ReplicaStats, ResultShape, Submission, SubmissionState, TaskRows},
};

use crate::support::{
    Database, Gateway, Up,
    cli::hashmesh,
    raw::inline,
    rundir,
    standby::Standby,
    wait::{PATIENCE, soon, until_value},
};

async fn database(gateway: &mut Gateway) -> DatabaseStats {
    let stats = soon("GetStats", gateway.get_stats(GetStatsRequest {})).await.expect("an answer");
    stats.into_inner().database.expect("it has one")
}

async fn replica(gateway: &mut Gateway) -> ReplicaStats {
    database(gateway).await.replicas.remove(0)
}

async fn until_it_is(gateway: &mut Gateway, state: ReplicaState) -> ReplicaStats {
    let what = format!("the replica to be {}", state.as_str_name());
    until_value(&what, PATIENCE, async || replica(gateway).await, |replica| replica.state() == state).await
}

/// A submission of three tasks that has ended.
async fn submit(gateway: &mut Gateway) -> Submission {
    let tasks = ["a", "b", "c"].map(|name| inline(name, name)).to_vec();
    let tasks = Some(submit_batch_request::Tasks::Rows(TaskRows { tasks }));
    let request = SubmitBatchRequest { tasks, wait: true, ..SubmitBatchRequest::default() };
    let answer = soon("SubmitBatch", gateway.submit_batch(request)).await.expect("it is accepted");
    answer.into_inner().submission.expect("the answer has it")
}

/// The newest submission of the list, and the outcomes of one, read in both ways.
async fn read(gateway: &mut Gateway, id: &str) -> (Submission, Vec<Outcome>) {
    let request = ListSubmissionsRequest { page_size: 1, ..ListSubmissionsRequest::default() };
    let mut page = soon("ListSubmissions", gateway.list_submissions(request)).await.expect("a page").into_inner();
    let shape = ResultShape::Rows as i32;
    let request = ListResultsRequest { submission_id: id.to_owned(), ..ListResultsRequest::default() };
    let listed = soon("ListResults", gateway.list_results(request)).await.expect("outcomes").into_inner();
    let request =
        StreamResultsRequest { submission_id: id.to_owned(), result_shape: shape, ..StreamResultsRequest::default() };
    let (_, streamed) = gateway.results(request).await.expect("outcomes");
    assert_eq!(listed.outcomes, streamed);
    (page.submissions.remove(0), streamed)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mesh_reads_from_its_replica_all_that_was_acknowledged_and_does_without_it_while_it_is_gone() {
    let directory = rundir::directory("standby");
    let up = Up::start("replicated", &["--replica-url", &Standby::url(&directory)]).await;
    let mut gateway = Gateway::connect(&up.server).await;
    let seen = async |gateway: &mut Gateway| {
        let submitted = submit(gateway).await;
        let (listed, outcomes) = read(gateway, &submitted.submission_id).await;
        assert_eq!(listed.submission_id, submitted.submission_id);
        assert_eq!((listed.state(), outcomes.len()), (SubmissionState::Completed, 3));
    };
    // Not there yet: nobody minds.
    seen(&mut gateway).await;
    assert!(!until_it_is(&mut gateway, ReplicaState::Unreachable).await.problem.is_empty());
    assert!(database(&mut gateway).await.primary_reads >= 3);

    let mut standby = Standby::of(&up, &directory).await;
    until_it_is(&mut gateway, ReplicaState::Following).await;
    let before = replica(&mut gateway).await.reads;
    let again = async || {
        seen(&mut gateway).await;
        replica(&mut gateway).await.reads - before
    };
    // A busy machine may be too late for some.
    until_value("the replica to answer", PATIENCE, again, |reads| *reads >= 3).await;
    let stats = hashmesh(["stats", "--output", "json", "--server", &up.server]).run().await.succeeded().json();
    assert!(stats["database"]["replicas"][0]["reads"].as_u64().is_some_and(|reads| reads >= 3), "{stats}");
    let address = stats["database"]["replicas"][0]["address"].as_str().expect("a text");
    assert!(address.ends_with("/standby/.s.PGSQL.5432"), "{stats}");

    standby.crash();
    for _ in 0..3 {
        seen(&mut gateway).await;
    }
    until_it_is(&mut gateway, ReplicaState::Unreachable).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_url_that_leads_to_a_primary_is_reported_and_not_read_from() {
    let (database_of_mesh, elsewhere) = (Database::create().await, Database::create().await);
    let options = ["--database-url", &database_of_mesh.url, "--replica-url", &elsewhere.url];
    let up = Up::start("misled", &options).await;
    let mut gateway = Gateway::connect(&up.server).await;
    let stats = until_it_is(&mut gateway, ReplicaState::Refused).await;
    assert!(stats.problem.contains("it is a primary, not a standby"), "{stats:?}");
    // Without the password.
    assert!(stats.address.starts_with("127.0.0.1:"), "{stats:?}");
    let submitted = submit(&mut gateway).await;
    assert_eq!(read(&mut gateway, &submitted.submission_id).await.1.len(), 3);
    assert_eq!(replica(&mut gateway).await.reads, 0);
}

#[tokio::test]
async fn a_queue_with_six_replicas_does_not_start() {
    let database = Database::create().await;
    let urls: Vec<String> = (1..=6).map(|number| format!("postgres://u:s3cret@replica-{number}/d")).collect();
    let arguments = ["queue", "--no-migrate", "--listen", "127.0.0.1:0", "--database-url", &database.url];
    let refused = hashmesh(arguments).env("HASHMESH_REPLICA_URL", &urls.join(",")).run().await.exits(1);
    assert!(refused.stderr.contains("replica_url: wanted up to 5 replicas, found 6"), "{}", refused.stderr);
    assert!(!refused.stderr.contains("s3cret"), "{}", refused.stderr);
}
