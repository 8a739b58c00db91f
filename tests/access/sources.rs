//! What tenants may have read: nothing, until an administrator allows it.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use hashmesh::{
    admin::v1::{ListAuditRequest, SetTenantControlsRequest},
    client::KeyedChannel,
    error::{Reason, reason},
    gateway::v1::{
        AppendBatchRequest, Batch, CreateScheduleRequest, CreateSubmissionRequest, GetControlsRequest,
        GetScheduleRequest, GetSubmissionRequest, RetryTasksRequest, SubmitBatchRequest, batch,
        gateway_service_client::GatewayServiceClient, submit_batch_request::Tasks,
    },
    keys::KeyText,
    limits::MAX_TENANT_SOURCES,
    tasks::file_uri,
    v1::{
        EndReason, Expansion, Outcome, OutcomeStatus, Scope, SourceRoot, Submission, SubmissionOptions,
        SubmissionState, Task, TaskRows, TenantSources,
    },
};
use tonic::{Code, Status};

use crate::support::{
    Database, Guarded,
    cli::{Run, hashmesh},
    raw::{file, violated_fields},
    rundir,
    wait::{PATIENCE, until},
};

type Client = GatewayServiceClient<KeyedChannel>;

const SCOPES: [Scope; 2] = [Scope::Submit, Scope::Read];

/// Two directories that the worker may read; the first has a link into the second.
fn tree(name: &str) -> PathBuf {
    let tree = rundir::directory(name);
    for directory in ["ours", "theirs"] {
        fs::create_dir(tree.join(directory)).expect("a directory");
        fs::write(tree.join(directory).join("file"), directory).expect("a file");
    }
    symlink("../theirs/file", tree.join("ours/out")).expect("a link");
    symlink("../theirs", tree.join("ours/directory")).expect("a link");
    tree
}

fn uri(directory: &Path) -> String {
    format!("{}/", file_uri(directory.as_os_str().as_encoded_bytes()))
}

/// From now on the tenant may have this read, and nothing else.
async fn allow(mesh: &Guarded, tenant: &str, uris: &[String]) -> Result<Option<TenantSources>, Status> {
    let sources = Some(TenantSources { uri_prefixes: uris.to_vec() });
    let request =
        SetTenantControlsRequest { tenant: tenant.to_owned(), sources, ..SetTenantControlsRequest::default() };
    Ok(mesh.administration().set_tenant_controls(request).await?.into_inner().controls.expect("they").sources)
}

fn naming(tasks: Vec<Task>, wait: bool) -> SubmitBatchRequest {
    let tasks = Some(Tasks::Rows(TaskRows { tasks }));
    SubmitBatchRequest { tasks, wait, ..SubmitBatchRequest::default() }
}

fn listing(directory: &Path) -> SubmissionOptions {
    let expansion = Some(Expansion { source_uri: uri(directory) });
    SubmissionOptions { expansion, ..SubmissionOptions::default() }
}

async fn create(gateway: &mut Client, options: SubmissionOptions) -> Result<String, Status> {
    let request = CreateSubmissionRequest { options: Some(options), ..CreateSubmissionRequest::default() };
    Ok(gateway.create_submission(request).await?.into_inner().opened.expect("it").submission_id)
}

async fn schedule(gateway: &mut Client, name: &str, directory: &Path) -> Result<(), Status> {
    let (name, cron) = (name.to_owned(), "0 3 * * *".to_owned());
    let options = Some(listing(directory));
    let request = CreateScheduleRequest { name, cron, options, ..CreateScheduleRequest::default() };
    gateway.create_schedule(request).await.map(drop)
}

/// Every way in which a tenant can have something read.
async fn every_way(mesh: &Guarded, key: &KeyText, directory: &Path) -> Vec<(&'static str, Result<(), Status>)> {
    let mut gateway = mesh.client(key).gateway();
    let named = || vec![file("a", &directory.join("file"))];
    let open = create(&mut gateway, SubmissionOptions::default()).await.expect("any may");
    let batch =
        Some(Batch { sequence: 0, tasks: Some(batch::Tasks::Rows(TaskRows { tasks: named() })), ..Batch::default() });
    let append = AppendBatchRequest { submission_id: open, batch };
    let name = format!("of-{}", directory.file_name().and_then(|name| name.to_str()).expect("UTF-8"));
    vec![
        ("SubmitBatch", gateway.submit_batch(naming(named(), false)).await.map(drop)),
        ("AppendBatch", gateway.append_batch(append).await.map(drop)),
        ("CreateSubmission", create(&mut gateway, listing(directory)).await.map(drop)),
        ("CreateSchedule", schedule(&mut gateway, &name, directory).await),
    ]
}

fn verb(mesh: &Guarded, key: &KeyText, arguments: &[&str]) -> Run {
    hashmesh(arguments).env("HASHMESH_SERVER", &mesh.up.server).env("HASHMESH_API_KEY", key.reveal())
}

async fn outcomes(gateway: &mut Client, tasks: Vec<Task>) -> Vec<Outcome> {
    gateway.submit_batch(naming(tasks, true)).await.expect("taken").into_inner().outcomes
}

fn failure(outcome: &Outcome) -> &str {
    outcome.error.as_ref().map_or("", |error| &error.reason)
}

async fn reaches(gateway: &Client, id: &str, state: SubmissionState) -> Submission {
    until("its end", PATIENCE, async || {
        let request = GetSubmissionRequest { submission_id: id.to_owned() };
        let submission = gateway.clone().get_submission(request).await.ok()?.into_inner().submission?;
        (submission.state() == state).then_some(submission)
    })
    .await
}

#[tokio::test]
async fn promise_10_a_tenant_has_nothing_read_that_it_was_not_allowed_whichever_way_it_asks() {
    let tree = tree("tenant-sources-tree");
    let (ours, theirs) = (tree.join("ours"), tree.join("theirs"));
    let mesh = Guarded::start("tenant-sources", &["--allow-source", tree.to_str().expect("UTF-8")]).await;
    let (key, other) = (mesh.key("ours", &SCOPES).await, mesh.key("other", &SCOPES).await);
    let refused = async |key: &KeyText, directory: &Path| {
        for (way, answer) in every_way(&mesh, key, directory).await {
            let status = answer.expect_err(way);
            assert_eq!(
                (status.code(), reason(&status)),
                (Code::PermissionDenied, Some(Reason::SourceForbidden)),
                "{way}"
            );
            assert!(status.message().contains("hashmesh admin tenants sources"), "{way}: {status}");
        }
        // Over a stream; and the command sends the bytes of what it may not name.
        let path = directory.join("file");
        let submit = ["submit", path.to_str().expect("UTF-8"), "--by-reference"];
        let ended = verb(&mesh, key, &submit).run().await.exits(71);
        assert!(ended.stderr.contains("may not have read"), "{}", ended.stderr);
        verb(&mesh, key, &submit[..2]).run().await.succeeded();
    };
    refused(&key, &ours).await;

    assert_eq!(allow(&mesh, "ours", &[uri(&ours)]).await.expect("allowed").expect("they").uri_prefixes, [uri(&ours)]);
    until("the Gateway to know it", PATIENCE, async || {
        mesh.client(&key).gateway().submit_batch(naming(vec![file("a", &ours.join("file"))], false)).await.ok()
    })
    .await;
    for (way, answer) in every_way(&mesh, &key, &ours).await {
        answer.unwrap_or_else(|status| panic!("{way}: {status}"));
    }
    let path = ours.join("file");
    let submit = ["submit", path.to_str().expect("UTF-8"), "--by-reference"];
    verb(&mesh, &key, &submit).run().await.succeeded();
    // It sees what it may have; nothing beside it, and nobody else that.
    let mut gateway = mesh.client(&key).gateway();
    let seen = gateway.get_controls(GetControlsRequest {}).await.expect("they").into_inner().controls.expect("they");
    assert_eq!(seen.sources.expect("they").uri_prefixes, [uri(&ours)]);
    let told = mesh.client(&key).get_capabilities().await.expect("they").tenant_sources.expect("they");
    assert_eq!(told.uri_prefixes, [uri(&ours)]);
    // Who may name nothing is not told what there is.
    let roots = async |key| {
        let client = mesh.client(key);
        let stats = client.get_stats().await.expect("they").queue.expect("it").workers;
        let files = |roots: &[SourceRoot]| roots.iter().filter(|root| root.uri_prefix.starts_with("file:")).count();
        let of_workers: usize = stats.iter().map(|worker| files(&worker.sources)).sum();
        (files(&client.get_capabilities().await.expect("they").sources), of_workers)
    };
    let ((seen, of_workers), (hidden, of_no_worker)) = (roots(&key).await, roots(&other).await);
    assert!(seen >= 1 && of_workers >= 1, "{seen} {of_workers}");
    assert_eq!((hidden, of_no_worker), (0, 0));
    refused(&key, &theirs).await;
    refused(&other, &ours).await;

    // What a list names is its tenant's, too.
    let lines =
        ["ours", "theirs"].map(|directory| file_uri(tree.join(directory).join("file").as_os_str().as_encoded_bytes()));
    fs::write(ours.join("list"), lines.join("\n")).expect("a list");
    let mut options = listing(&ours);
    let text = format!("list:{}list", uri(&ours));
    options.expansion = Some(Expansion { source_uri: text.clone() });
    let id = create(&mut gateway, options.clone()).await.expect("below what it may");
    let end = reaches(&gateway, &id, SubmissionState::Completed).await;
    assert_eq!((end.succeeded_tasks, end.failed_tasks), (1, 1));
    options.expansion = Some(Expansion { source_uri: text.replace("/ours/", "/theirs/") });
    let status = create(&mut gateway, options).await.expect_err("another's list");
    assert_eq!(reason(&status), Some(Reason::SourceForbidden));

    // Links lead nowhere else, neither as files nor as directories.
    let found = outcomes(&mut gateway, vec![file("in", &ours.join("file")), file("out", &ours.join("out"))]).await;
    assert_eq!((found[0].status(), failure(&found[1])), (OutcomeStatus::Succeeded, "SOURCE_NOT_ALLOWED"));
    let id = create(&mut gateway, listing(&ours.join("directory"))).await.expect("below what it may");
    let end = reaches(&gateway, &id, SubmissionState::Cancelled).await;
    let why = end.expansion_error.as_ref().map(|error| error.reason.as_str());
    assert_eq!((end.end_reason(), why), (EndReason::ExpansionFailed, Some("SOURCE_NOT_ALLOWED")));
}

#[tokio::test]
async fn promise_10_what_is_no_longer_allowed_is_not_read_however_long_ago_it_was_asked_for() {
    let tree = tree("taken-back-tree");
    let ours = tree.join("ours");
    let mut mesh = Guarded::start("taken-back", &["--allow-source", tree.to_str().expect("UTF-8")]).await;
    let key = mesh.key("ours", &SCOPES).await;
    allow(&mesh, "ours", &[uri(&ours)]).await.expect("allowed");
    let mut gateway = mesh.client(&key).gateway();
    let pause = async |mesh: &Guarded, paused| {
        let request = SetTenantControlsRequest {
            tenant: "ours".to_owned(),
            paused: Some(paused),
            ..SetTenantControlsRequest::default()
        };
        mesh.administration().set_tenant_controls(request).await.expect("set");
    };
    pause(&mesh, true).await;
    let named = naming(vec![file("a", &ours.join("file"))], false);
    let waiting = gateway.submit_batch(named).await.expect("taken").into_inner().submission.expect("it").submission_id;
    let listed = create(&mut gateway, listing(&ours)).await.expect("taken");
    schedule(&mut gateway, "nightly", &ours).await.expect("taken");

    assert_eq!(allow(&mesh, "ours", &[]).await.expect("set"), Some(TenantSources::default()));
    // Neither does a restart give it back.
    mesh.up.restart().await;
    let mut gateway = mesh.client(&key).gateway();
    pause(&mesh, false).await;
    let end = reaches(&gateway, &waiting, SubmissionState::Completed).await;
    assert_eq!((end.succeeded_tasks, end.failed_tasks), (0, 1));
    let end = reaches(&gateway, &listed, SubmissionState::Cancelled).await;
    assert_eq!(end.expansion_error.expect("it failed").reason, "SOURCE_NOT_ALLOWED");
    let retried = gateway.retry_tasks(RetryTasksRequest { submission_id: waiting, ..RetryTasksRequest::default() });
    let retried = retried.await.expect("taken").into_inner().submission.expect("it").submission_id;
    assert_eq!(reaches(&gateway, &retried, SubmissionState::Completed).await.failed_tasks, 1);

    let sql = "UPDATE schedules SET next_run_at = now() - interval '1 hour' WHERE name = 'nightly' RETURNING name";
    assert_eq!(Database::of_url(mesh.up.database_url()).value(sql).await, "nightly");
    let run = until("its run", PATIENCE, async || {
        let request = GetScheduleRequest { name: "nightly".to_owned() };
        let schedule = gateway.clone().get_schedule(request).await.ok()?.into_inner().schedule?;
        Some(schedule.last_submission_id).filter(|id| !id.is_empty())
    });
    let run = run.await;
    let end = reaches(&gateway, &run, SubmissionState::Cancelled).await;
    assert_eq!(end.expansion_error.expect("it failed").reason, "SOURCE_NOT_ALLOWED");

    // What is allowed again is read again.
    allow(&mesh, "ours", &[uri(&tree)]).await.expect("allowed");
    until("the Gateway to know it", PATIENCE, async || create(&mut gateway, listing(&ours)).await.ok()).await;
}

#[tokio::test]
async fn sources_are_set_by_the_command_checked_and_noted() {
    let mesh = Guarded::shared().await;
    let admin = &mesh.admin;
    let sources = ["admin", "tenants", "sources", "by-command"];
    let set = async |arguments: &[&str]| {
        let all: Vec<&str> = sources.iter().chain(arguments).copied().collect();
        verb(mesh, admin, &all).run().await
    };
    let both = set(&["--allow", "s3://bucket", "--allow", "https://Example.com/pub", "--output", "json"]).await;
    let wanted = serde_json::json!(["s3://bucket/", "https://example.com/pub/"]);
    assert_eq!(both.succeeded().json()["sources"], wanted);
    let shown = verb(mesh, admin, &["admin", "tenants", "get", "by-command", "--output", "json"]).run().await;
    assert_eq!(shown.succeeded().json()["sources"], wanted);
    let shown = verb(mesh, admin, &["admin", "tenants", "get", "nobody", "--output", "json"]).run().await;
    assert!(shown.succeeded().json()["sources"].is_null());
    assert_eq!(set(&["--nothing", "--output", "json"]).await.succeeded().json()["sources"], serde_json::json!([]));
    for wrong in [&[][..], &["--nothing", "--allow", "s3://"]] {
        set(wrong).await.exits(2);
    }
    let ended = set(&["--allow", "/srv"]).await.exits(67);
    assert!(ended.stderr.contains("file:///"), "{}", ended.stderr);

    let status = allow(mesh, "by-command", &["s3://bucket/".to_owned(), "file:///a/../b".to_owned()]).await;
    assert_eq!(violated_fields(&status.expect_err("refused")), ["sources.uri_prefixes[1]"]);
    let buckets = |count: usize| (0..count).map(|number| format!("s3://bucket-{number}/")).collect::<Vec<_>>();
    allow(mesh, "by-command", &buckets(MAX_TENANT_SOURCES)).await.expect("as many as it may");
    let status = allow(mesh, "by-command", &buckets(MAX_TENANT_SOURCES + 1)).await.expect_err("one more");
    assert_eq!(violated_fields(&status), ["sources.uri_prefixes"]);

    let entries =
        mesh.administration().list_audit(ListAuditRequest::default()).await.expect("they").into_inner().entries;
    let details: Vec<_> =
        entries.iter().filter(|entry| entry.target == "by-command").map(|entry| &*entry.detail).collect();
    assert_eq!(details[1..], ["may have nothing read", "may have read s3://bucket/ https://example.com/pub/"]);
}
