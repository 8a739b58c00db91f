//! Submissions whose tasks the mesh lists itself: directories of workers, and buckets.

mod lists;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::unix::ffi::OsStrExt as _,
    path::Path,
};

use hashmesh::{
    admin::v1::SetTenantControlsRequest,
    error::Reason,
    gateway::v1::{
        AppendBatchRequest, Batch, CancelSubmissionRequest, CreateSubmissionRequest, GetSubmissionRequest,
        OpenSubmission, PauseWorkRequest, ResumeWorkRequest, SealSubmissionRequest, SubmitBatchRequest,
        submit_batch_request,
    },
    tasks::{file_uri, s3_uri},
    v1::{
        EndReason, Expansion, Outcome, OutcomeStatus, Scope, Submission, SubmissionOptions, SubmissionState, TaskRows,
        WaitReason,
    },
};
use tonic::Status;

use crate::support::{
    Gateway, Mesh, MeshOptions, Up,
    cli::hashmesh,
    guarded::Guarded,
    heavy,
    oracle::{self, sha256_hex},
    raw::{assert_refused, inline, packed, violated_fields},
    rundir,
    s3::S3,
    scripted_web,
    tree::{hostile_entries, hostile_files},
    wait::{PATIENCE, until},
};

fn of(source_uri: &str) -> SubmissionOptions {
    let expansion = Some(Expansion { source_uri: source_uri.to_owned() });
    SubmissionOptions { expansion, ..SubmissionOptions::default() }
}

async fn try_create(gateway: &mut Gateway, options: SubmissionOptions, key: &str) -> Result<String, Status> {
    let request = CreateSubmissionRequest { options: Some(options), idempotency_key: key.to_owned() };
    let opened = gateway.create_submission(request).await?.into_inner().opened;
    Ok(opened.expect("it is there").submission_id)
}

async fn create(gateway: &mut Gateway, source_uri: &str) -> String {
    try_create(gateway, of(source_uri), "").await.expect("it is created")
}

/// Waits until something holds of a submission.
async fn shows(gateway: &Gateway, id: &str, what: &str, holds: impl Fn(&Submission) -> bool) -> Submission {
    until(what, PATIENCE, async || {
        // A Queue that is being restarted does not answer.
        let request = GetSubmissionRequest { submission_id: id.to_owned() };
        let submission = gateway.clone().get_submission(request).await.ok()?.into_inner().submission?;
        holds(&submission).then_some(submission)
    })
    .await
}

fn directory_uri(path: &Path) -> String {
    format!("{}/", file_uri(path.as_os_str().as_bytes()))
}

/// The reason for which the listing failed.
fn failure(submission: &Submission) -> &str {
    submission.expansion_error.as_ref().map_or("", |error| &error.reason)
}

fn by_name(outcomes: Vec<Outcome>) -> BTreeMap<String, Outcome> {
    let count = outcomes.len();
    let named: BTreeMap<_, _> = outcomes.into_iter().map(|outcome| (outcome.name.clone(), outcome)).collect();
    assert_eq!(named.len(), count, "a name came twice");
    named
}

/// Files of the tree that is listed while things die: ten pages.
const FILES: usize = 100_000;

#[tokio::test]
async fn promises_1_and_2_a_tree_is_listed_whole_and_once_whatever_dies_meanwhile() {
    let _turn = heavy::turn().await;
    let tree = rundir::directory("expansion-tree");
    for directory in 0..100 {
        let below = tree.join(format!("d{directory}"));
        fs::create_dir(&below).expect("a directory");
        for file in 0..FILES / 100 {
            fs::write(below.join(file.to_string()), format!("{directory}/{file}")).expect("a file");
        }
    }
    let options = MeshOptions { workers: 2, sources: vec![tree.clone()], ..MeshOptions::default() };
    let mut mesh = Mesh::start("expansion-kills", options).await;
    let mut gateway = mesh.connect().await;
    let id = create(&mut gateway, &directory_uri(&tree)).await;

    let early = shows(&gateway, &id, "the first page", |submission| submission.accepted_tasks > 0).await;
    assert_eq!(early.state(), SubmissionState::Open, "the first kill must hit the listing: {early:?}");
    mesh.queue.restart().await;
    let taken_up =
        shows(&gateway, &id, "a page of the next owner", |submission| submission.accepted_tasks > early.accepted_tasks);
    let taken_up = taken_up.await;
    mesh.workers[0].process.kill();
    let more = |submission: &Submission| {
        submission.accepted_tasks > taken_up.accepted_tasks || submission.state() != SubmissionState::Open
    };
    shows(&gateway, &id, "a page of the other worker", more).await;
    mesh.workers[1].process.kill();
    mesh.workers[0].restart().await;
    let completed = |submission: &Submission| submission.state() == SubmissionState::Completed;
    let end = shows(&gateway, &id, "all files", completed).await;
    let all = FILES as u64;
    assert_eq!((end.accepted_tasks, end.succeeded_tasks, failure(&end)), (all, all, ""), "{end:?}");

    let found = by_name(gateway.outcomes_after(&id, 0).await);
    assert_eq!(found.len(), FILES);
    let contents: Vec<String> =
        (0..FILES).map(|number| format!("{}/{}", number / (FILES / 100), number % (FILES / 100))).collect();
    let wanted = oracle::digests("sha256", contents.iter().map(String::as_bytes));
    for (number, digest) in wanted.iter().enumerate() {
        let name = format!("{}d{}", directory_uri(&tree), contents[number]);
        assert_eq!(found[&name].digests[0].hex, hex::encode(digest), "{name}");
    }
}

#[tokio::test]
async fn hostile_names_are_listed_as_they_are_and_what_is_no_file_fails() {
    let root = rundir::directory("expansion-hostile");
    let files = hostile_files(&root);
    hostile_entries(&root);
    let up = Up::start("hostile-listing", &["--allow-source", root.to_str().expect("UTF-8")]).await;
    let mut gateway = Gateway::connect(&up.server).await;
    let id = create(&mut gateway, &directory_uri(&root)).await;
    let end = gateway.reaches(&id, SubmissionState::Completed).await;
    let mut found = by_name(gateway.outcomes_after(&id, 0).await);
    for (path, content) in &files {
        let name = file_uri(&[root.as_os_str().as_bytes(), b"/", path].concat());
        let outcome = found.remove(&name).unwrap_or_else(|| panic!("{name} is missing"));
        assert_eq!(outcome.digests[0].hex, sha256_hex(content), "{name}");
    }
    // Nothing is left out: what cannot be read has a task, which says why.
    let left: BTreeSet<_> = found.keys().map(|name| name.rsplit('/').next().expect("a name")).collect();
    assert_eq!(left, BTreeSet::from(["dangling", "fifo", "looping", "socket"]));
    assert!(found.values().all(|outcome| outcome.status() == OutcomeStatus::Failed));
    assert_eq!((end.failed_tasks, end.succeeded_tasks), (4, files.len() as u64));
    // What failed can be tried again, by itself.
    let retried = hashmesh(["retry", &id]).env("HASHMESH_SERVER", &up.server).run().await.succeeded().text();
    let again = gateway.reaches(retried.trim(), SubmissionState::Completed).await;
    assert_eq!((again.accepted_tasks, again.failed_tasks), (4, 4));
}

#[tokio::test]
async fn a_bucket_or_what_begins_alike_in_it_is_listed_by_the_command() {
    let s3 = S3::start("listed-store", &["bucket", "private"]).await;
    let hostile = ["a b+c", "100%", "\u{fc}ber/\u{6f22}", "x&y<z>'\"", "a/deep/er", "a-b", "a", "logs/1"];
    let mut wanted = BTreeMap::new();
    for key in hostile.iter().filter(|key| **key != "a") {
        let uri = s3_uri("bucket", key.as_bytes());
        s3.put(&uri["s3://".len()..], key.as_bytes()).await;
        wanted.insert(uri, sha256_hex(key.as_bytes()));
    }
    // More than an answer of the store holds.
    fs::create_dir_all(s3.bucket("bucket").join("many")).expect("a directory");
    let many: Vec<String> = (0..2_500).map(|number| format!("many/{number}")).collect();
    for (key, digest) in many.iter().zip(oracle::digests("sha256", many.iter().map(String::as_bytes))) {
        fs::write(s3.bucket("bucket").join(key), key).expect("a file");
        wanted.insert(s3_uri("bucket", key.as_bytes()), hex::encode(digest));
    }
    let up = Up::start_in("listed", &["--allow-source", "s3://bucket"], &s3.environment()).await;
    let verb = |arguments: &[&str]| hashmesh(arguments).env("HASHMESH_SERVER", &up.server);
    let manifest = |text: String| -> BTreeMap<String, String> {
        let pair = |line: &str| line.split_once("  ").map(|(digest, name)| (name.to_owned(), digest.to_owned()));
        text.lines().map(|line| pair(line).unwrap_or_else(|| panic!("{line}"))).collect()
    };

    let ended = verb(&["submit", "s3://bucket"]).run().await.succeeded();
    let mut all = manifest(ended.text());
    // What the store keeps its directories by is objects too, as it says.
    all.retain(|name, _| !name.ends_with('/'));
    assert_eq!(all, wanted);
    let ended = verb(&["submit", "s3://bucket/logs/"]).run().await.succeeded();
    let logs = manifest(ended.text());
    assert!(logs.keys().all(|name| name.starts_with("s3://bucket/logs/")) && logs.len() <= 2, "{logs:?}");

    // Later, from elsewhere, with the submission's id; and a rerun with the same key finds it.
    let detach = ["submit", "s3://bucket/many/", "--detach", "--idempotency-key", "nightly"];
    let id = verb(&detach).run().await.succeeded().text().trim().to_owned();
    assert_eq!(verb(&detach).run().await.succeeded().text().trim(), id);
    let ended = verb(&["results", &id, "--follow"]).run().await.succeeded();
    assert_eq!(manifest(ended.text()).keys().filter(|name| !name.ends_with('/')).count(), 2_500);
    let resumed = verb(&["submit", "s3://bucket/many/", "--id", &id]).run().await.succeeded();
    assert_eq!(resumed.text(), ended.text());
    let other = verb(&["submit", "s3://bucket/logs/", "--id", &id]).run().await.exits(2);
    assert!(other.stderr.contains("does not take its tasks from s3://bucket/logs/"), "{}", other.stderr);

    // Names that end in nothing are for one at a time.
    let several = verb(&["submit", "s3://bucket/logs/", "s3://bucket/many/"]).run().await.exits(2);
    assert!(several.stderr.contains("give it alone"), "{}", several.stderr);
    // What there is none of is no empty manifest.
    let mut gateway = Gateway::connect(&up.server).await;
    let id = create(&mut gateway, "s3://private/").await;
    let waits = shows(&gateway, &id, "it to wait", |submission| submission.wait_reason() != WaitReason::Unspecified);
    assert_eq!(waits.await.wait_reason(), WaitReason::WaitingForWorker);
}

#[tokio::test]
async fn buckets_are_compared_with_each_other_and_with_directories() {
    let s3 = S3::start("compared-store", &["bucket-a", "bucket-b"]).await;
    let local = rundir::directory("compared-local");
    for (side, files) in [
        ("bucket-a", [("same", "1"), ("s b/s+e", "2"), ("differs", "3"), ("only in a", "4")]),
        ("bucket-b", [("same", "1"), ("s b/s+e", "2"), ("differs", "9"), ("only in b", "4")]),
    ] {
        for (file, content) in files {
            let path = if side == "bucket-a" { local.join(file) } else { s3.bucket(side).join(file) };
            fs::create_dir_all(path.parent().expect("it has one")).expect("a directory");
            fs::write(path, content).expect("a file");
            if side == "bucket-a" {
                let uri = s3_uri(side, file.as_bytes());
                s3.put(&uri["s3://".len()..], content.as_bytes()).await;
            }
        }
    }
    let up = Up::start_in("compared", &["--allow-source", "s3://"], &s3.environment()).await;
    let compare = async |a: &str, b: &str| {
        hashmesh(["compare", a, b, "-a", "md5"]).env("HASHMESH_SERVER", &up.server).run().await
    };
    let local = local.to_str().expect("UTF-8");
    let report = "* differs\n+ only in a\n- only in b\n= s b/s+e\n= same\n";
    for (a, b) in [("s3://bucket-a", "s3://bucket-b/"), (local, "s3://bucket-b")] {
        assert_eq!(compare(a, b).await.exits(1).text(), report, "{a} {b}");
    }
    let ended = compare("s3://bucket-a/", local).await.succeeded();
    assert_eq!(ended.text().lines().filter(|line| line.starts_with("= ")).count(), 4);
    // What could not be listed to its end is not compared as if it were all.
    let ended = compare("s3://bucket-a", "s3://bucket-c").await.exits(1);
    assert!(ended.text().is_empty() && ended.stderr.contains("SOURCE_NOT_FOUND"), "{}", ended.stderr);
    let ended = compare("s3://bucket-a/same", local).await.exits(2);
    assert!(ended.stderr.contains("no place that the mesh lists"), "{}", ended.stderr);
}

#[tokio::test]
async fn what_cannot_be_listed_ends_the_submission_and_says_why() {
    let s3 = S3::start("failing-store", &["bucket"]).await;
    let tree = rundir::directory("expansion-failing");
    fs::write(tree.join("file"), "x").expect("a file");
    let options = ["--allow-source", "s3://", "--allow-source", tree.to_str().expect("UTF-8")];
    let up = Up::start_in("failing-listing", &options, &s3.environment()).await;
    let mut gateway = Gateway::connect(&up.server).await;
    for (uri, wanted) in [
        ("s3://absent-bucket/".to_owned(), "SOURCE_NOT_FOUND"),
        (format!("{}absent/", directory_uri(&tree)), "SOURCE_NOT_FOUND"),
        (format!("{}file/", directory_uri(&tree)), "SOURCE_NOT_FOUND"),
    ] {
        let id = create(&mut gateway, &uri).await;
        let end = gateway.reaches(&id, SubmissionState::Cancelled).await;
        assert_eq!((failure(&end), end.end_reason()), (wanted, EndReason::ExpansionFailed), "{uri}");
        assert_eq!(end.accepted_tasks, 0);
        let uri = uri.as_str();
        let ended = hashmesh(["submit", uri]).env("HASHMESH_SERVER", &up.server).run().await.exits(1);
        assert!(ended.stderr.contains("cannot be listed") && ended.stderr.contains(wanted), "{}", ended.stderr);
    }
    // A bucket without objects, and a directory without files, have nothing to do.
    let empty = tree.join("empty");
    fs::create_dir(&empty).expect("a directory");
    for uri in ["s3://bucket".to_owned(), directory_uri(&empty)] {
        let id = create(&mut gateway, &uri).await;
        let end = gateway.reaches(&id, SubmissionState::Completed).await;
        assert_eq!((end.accepted_tasks, end.next_sequence, failure(&end)), (0, 0, ""), "{uri}");
    }
}

type Answers = &'static [(&'static str, &'static str)];

/// A store that answers each request for a bucket's keys with the next of its answers, and with the last for good.
async fn scripted_store(buckets: &'static [(&'static str, Answers)]) -> String {
    let mut asked: BTreeMap<&str, usize> = BTreeMap::new();
    let answer = move |request: &str| {
        let listed = buckets.iter().find(|(bucket, _)| request.starts_with(&format!("GET /{bucket}?list-type=2")));
        let (status, body) = match listed {
            Some((bucket, answers)) => {
                let nth = asked.entry(bucket).or_default();
                *nth += 1;
                answers[(*nth - 1).min(answers.len() - 1)]
            }
            None => ("200 OK", "x"),
        };
        Some((status.to_owned(), body.to_owned()))
    };
    format!("http://{}", scripted_web::serve(answer).await)
}

const TWO_KEYS: &str = "<ListBucketResult><IsTruncated>false</IsTruncated><Contents><Key>a</Key></Contents>\
                        <Contents><Key>b</Key></Contents></ListBucketResult>";
const FIRST_KEY: &str = "<ListBucketResult><IsTruncated>true</IsTruncated><NextContinuationToken>t</NextContinuationToken>\
                         <Contents><Key>a</Key></Contents></ListBucketResult>";
const NO_KEY_YET: &str = "<ListBucketResult><IsTruncated>true</IsTruncated>\
                          <NextContinuationToken>t</NextContinuationToken></ListBucketResult>";
const DISORDER: &str = "<ListBucketResult><IsTruncated>false</IsTruncated><Contents><Key>b</Key></Contents>\
                        <Contents><Key>a</Key></Contents></ListBucketResult>";
const FOREIGN: &str = "<ListBucketResult><IsTruncated>false</IsTruncated><Contents><Key>../x</Key></Contents>\
                       </ListBucketResult>";

#[tokio::test]
async fn a_store_that_fails_is_asked_again_and_one_that_is_not_to_be_trusted_is_not() {
    const BUCKETS: &[(&str, Answers)] = &[
        ("flaky", &[("500 No", ""), ("200 OK", "<html>"), ("200 OK", NO_KEY_YET), ("200 OK", TWO_KEYS)]),
        ("again", &[("200 OK", FIRST_KEY), ("200 OK", TWO_KEYS)]),
        ("disorder", &[("200 OK", DISORDER)]),
        ("foreign", &[("200 OK", FOREIGN)]),
        ("denied", &[("403 No", "")]),
        ("down", &[("503 No", "")]),
    ];
    let endpoint = scripted_store(BUCKETS).await;
    let options = ["--allow-source", "s3://", "--s3-endpoint", &endpoint];
    let up = Up::start("scripted-store", &options).await;
    let mut gateway = Gateway::connect(&up.server).await;
    for (source_uri, wanted) in [
        ("s3://flaky/", Ok(2)),
        ("s3://again/", Err("SOURCE_UNREADABLE")),
        ("s3://disorder/", Err("SOURCE_UNREADABLE")),
        // Keys that were not asked for are not taken, whatever they say.
        ("s3://foreign/mine/", Err("SOURCE_UNREADABLE")),
        ("s3://denied/", Err("SOURCE_DENIED")),
    ] {
        let id = create(&mut gateway, source_uri).await;
        let end = shows(&gateway, &id, "its end", |submission| submission.end_time.is_some()).await;
        let found = match end.state() {
            SubmissionState::Completed => Ok(end.succeeded_tasks),
            _ => Err(failure(&end)),
        };
        assert_eq!(found, wanted, "{source_uri}: {end:?}");
    }
    // While it is tried again, it says what is wrong.
    let id = create(&mut gateway, "s3://down/").await;
    let open = shows(&gateway, &id, "why", |submission| submission.expansion_error.is_some()).await;
    assert_eq!((open.state(), failure(&open)), (SubmissionState::Open, "SOURCE_UNREADABLE"));
    gateway.cancel_submission(CancelSubmissionRequest { submission_id: id.clone() }).await.expect("cancelled");
    let end = gateway.reaches(&id, SubmissionState::Cancelled).await;
    assert_eq!((end.end_reason(), failure(&end)), (EndReason::Caller, ""));
}

#[tokio::test]
async fn a_submission_that_is_listed_takes_batches_and_seals_from_nobody_else() {
    let up = Up::start("expansion-alone", &[]).await;
    let mut gateway = Gateway::connect(&up.server).await;
    let id = create(&mut gateway, "file:///srv/./x/").await;
    let open = gateway.submission(&id).await;
    let expansion = open.options.expect("it has some").expansion.expect("it has one");
    assert_eq!(expansion.source_uri, "file:///srv/x/", "in its one form");

    let tasks = Some(packed(["a"]));
    let request =
        AppendBatchRequest { submission_id: id.clone(), batch: Some(Batch { sequence: 0, tasks, ..Batch::default() }) };
    assert_refused(&gateway.append_batch(request).await.expect_err("refused"), Reason::SubmissionExpands);
    let request = SealSubmissionRequest { submission_id: id.clone(), batch_count: 0 };
    assert_refused(&gateway.seal_submission(request).await.expect_err("refused"), Reason::SubmissionExpands);
    let opening = OpenSubmission { submission_id: id.clone(), ..OpenSubmission::default() };
    let (mut stream, _) = gateway.open(opening).await.expect("it opens");
    stream.batch(0, packed(["a"])).await;
    let (sequence, status) = stream.rejected().await;
    assert_eq!(sequence, 0);
    assert_refused(&status, Reason::SubmissionExpands);
    stream.seal(0).await;
    assert_refused(&stream.fails().await, Reason::SubmissionExpands);
    assert_eq!(gateway.submission(&id).await.accepted_tasks, 0);

    // The key stands for the source too.
    let named = try_create(&mut gateway, of("file:///srv/y/"), "key").await.expect("it is created");
    assert_eq!(try_create(&mut gateway, of("file:///srv/y"), "key").await.expect("it is found"), named);
    let other = try_create(&mut gateway, of("file:///srv/z/"), "key").await.expect_err("another source");
    assert_refused(&other, Reason::IdempotencyConflict);
}

#[tokio::test]
async fn what_stands_for_nothing_that_can_be_listed_is_refused_with_the_field() {
    let up = Up::start("expansion-fields", &[]).await;
    let mut gateway = Gateway::connect(&up.server).await;
    let long = |length: usize| format!("file:///{}/", "d".repeat(length - 9));
    for uri in ["", "https://host/", "file://host/", "file:///a/../b/", "s3://", "s3://x", "/srv", &long(8_193)] {
        let status = try_create(&mut gateway, of(uri), "").await.expect_err(uri);
        assert_refused(&status, Reason::InvalidArgument);
        assert_eq!(violated_fields(&status), ["options.expansion.source_uri"], "{uri}");
    }
    try_create(&mut gateway, of(&long(8_192)), "").await.expect("it is as long as may be");

    let tasks = Some(submit_batch_request::Tasks::Rows(TaskRows { tasks: vec![inline("a", "a")] }));
    let request = SubmitBatchRequest { options: Some(of("s3://bucket/")), tasks, ..SubmitBatchRequest::default() };
    let status = gateway.submit_batch(request).await.expect_err("it has tasks of its own");
    assert_eq!(violated_fields(&status), ["options.expansion"]);
}

#[tokio::test]
async fn nothing_is_listed_for_who_is_paused() {
    let tree = rundir::directory("expansion-paused");
    fs::write(tree.join("file"), "x").expect("a file");
    let up = Up::start("expansion-paused", &["--allow-source", tree.to_str().expect("UTF-8")]).await;
    let mut gateway = Gateway::connect(&up.server).await;
    gateway.pause_work(PauseWorkRequest::default()).await.expect("paused");
    let id = create(&mut gateway, &directory_uri(&tree)).await;
    let paused = shows(&gateway, &id, "why", |one| one.wait_reason() != WaitReason::Unspecified).await;
    assert_eq!((paused.wait_reason(), paused.accepted_tasks), (WaitReason::Paused, 0));
    gateway.resume_work(ResumeWorkRequest::default()).await.expect("resumed");
    assert_eq!(gateway.reaches(&id, SubmissionState::Completed).await.succeeded_tasks, 1);
}

#[tokio::test]
async fn promise_10_a_tenant_has_no_more_listed_than_it_may_bring() {
    let tree = rundir::directory("expansion-quota");
    for file in 0..10 {
        fs::write(tree.join(file.to_string()), "x").expect("a file");
    }
    let mesh = Guarded::start("expansion-quota", &["--allow-source", tree.to_str().expect("UTF-8")]).await;
    let key = mesh.key("small", &[Scope::Submit, Scope::Read]).await;
    mesh.allow("small", &directory_uri(&tree)).await;
    let limit = async |tasks_per_day| {
        let request = SetTenantControlsRequest {
            tenant: "small".to_owned(),
            tasks_per_day: Some(tasks_per_day),
            ..SetTenantControlsRequest::default()
        };
        mesh.administration().set_tenant_controls(request).await.expect("it is set");
    };
    limit(9).await;
    let client = mesh.client(&key);
    let id = client.create_submission(of(&directory_uri(&tree)), None).await.expect("it is created").submission_id;
    let held = until("why it is held", PATIENCE, async || {
        client.get_submission(&id).await.ok().filter(|one| one.expansion_error.is_some())
    });
    let held = held.await;
    assert_eq!((held.state(), failure(&held), held.accepted_tasks), (SubmissionState::Open, "QUOTA_EXCEEDED", 0));
    limit(10).await;
    let end = until("its end", PATIENCE, async || {
        client.get_submission(&id).await.ok().filter(|one| one.state() == SubmissionState::Completed)
    });
    let end = end.await;
    assert_eq!((end.succeeded_tasks, failure(&end)), (10, ""));
}
