//! Objects that workers read over the network: from an S3-compatible store and from a web server.

use std::{
    collections::BTreeMap,
    fs,
    net::Ipv4Addr,
    process::{Child, Command, Stdio},
};

use futures::FutureExt as _;
use hashmesh::{
    gateway::v1::{
        AppendBatchRequest, Batch, CreateSubmissionRequest, GetSubmissionRequest, ListResultsRequest,
        SealSubmissionRequest, SubmitBatchRequest, batch, submit_batch_request::Tasks,
    },
    tasks::s3_uri,
    v1::{
        ByteRange, ObjectReference, Outcome, OutcomeStatus, SubmissionState, Task, TaskRows, WaitReason, task::Source,
    },
};
use tokio::net::{TcpListener, TcpStream};

use crate::support::{
    Gateway, Mesh, MeshOptions, Up,
    cli::hashmesh,
    dns::Dns,
    mesh::own_host,
    oracle::{self, sha256_hex},
    process, rundir,
    s3::S3,
    scripted_web,
    wait::{PATIENCE, until},
};

fn object(name: &str, uri: &str, range: Option<ByteRange>) -> Task {
    let object = ObjectReference { uri: uri.to_owned(), range };
    Task { name: name.to_owned(), source: Some(Source::Object(object)), ..Task::default() }
}

/// The outcomes of these tasks, in their order.
async fn outcomes(gateway: &mut Gateway, tasks: Vec<Task>) -> Vec<Outcome> {
    let request = SubmitBatchRequest {
        tasks: Some(Tasks::Rows(TaskRows { tasks })),
        wait: true,
        ..SubmitBatchRequest::default()
    };
    let mut outcomes = gateway.submit_batch(request).await.expect("accepted").into_inner().outcomes;
    outcomes.sort_by_key(|outcome| outcome.task);
    outcomes
}

fn reason(outcome: &Outcome) -> &str {
    assert_eq!(outcome.status(), OutcomeStatus::Failed, "{outcome:?}");
    outcome.error.as_ref().map_or("", |error| &error.reason)
}

/// A web server as everybody has one, on an address that is not public.
struct Web {
    server: Child,
    host: String,
}

impl Web {
    async fn start(name: &str) -> Self {
        let (directory, host) = (rundir::directory(name), own_host());
        let mut server = Command::new("setpriv");
        server.args(["--pdeathsig", "KILL", "--", "python3", "-m", "http.server", "8080", "--bind", &host]);
        server.current_dir(&directory).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        fs::write(directory.join("a file"), "from the web").expect("a file");
        let server = process::spawn(server);
        until("the web server", PATIENCE, async || TcpStream::connect((host.as_str(), 8080)).await.ok()).await;
        Self { server, host }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}:8080/{path}", self.host)
    }
}

impl Drop for Web {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

#[tokio::test]
async fn objects_of_a_bucket_are_submitted_verified_and_named_by_their_uris() {
    let s3 = S3::start("bucket-store", &["bucket", "private"]).await;
    let keys = ["plain", "a/b c", "100%+&=?#'\".txt", "\u{fc}ber/\u{6f22}", ".hidden", "~tilde_-.", "x*(),;:@!$"];
    let mut uris = Vec::new();
    for key in keys {
        let uri = s3_uri("bucket", key.as_bytes());
        s3.put(&uri["s3://".len()..], key.as_bytes()).await;
        uris.push(uri);
    }
    let up = Up::start_in("buckets", &["--allow-source", "s3://bucket"], &s3.environment()).await;
    let verb = |arguments: &[&str]| hashmesh(arguments).env("HASHMESH_SERVER", &up.server);

    let list = uris.join("\n");
    let ended = verb(&["submit", "--files-from", "-", "--output", "jsonl"]).stdin(list.clone()).run().await.succeeded();
    let by_name: BTreeMap<String, serde_json::Value> =
        ended.json_lines().into_iter().map(|line| (line["name"].as_str().expect("a name").to_owned(), line)).collect();
    for (key, uri) in keys.iter().zip(&uris) {
        let line = &by_name[uri];
        assert_eq!(line["digests"]["sha256"], sha256_hex(key.as_bytes()), "{line}");
        assert_eq!(line["size"], key.len(), "{line}");
        assert!(line["etag"].as_str().is_some_and(|etag| etag.len() == 34), "{line}");
        assert!(line["modified"].as_str().is_some_and(|time| time.starts_with("20")), "{line}");
    }
    let mut arguments = vec!["submit"];
    arguments.extend(uris.iter().map(String::as_str));
    let manifest = verb(&arguments).run().await.succeeded();
    assert_eq!(manifest.text().lines().count(), keys.len());
    assert!(manifest.text().contains(&format!("{}  {}\n", sha256_hex(b"plain"), uris[0])));

    let ended = verb(&["verify", "-"]).stdin(manifest.stdout.clone()).run().await.succeeded();
    assert!(ended.text().lines().all(|line| line.starts_with("= s3://bucket/")), "{}", ended.text());
    s3.put("bucket/plain", b"changed").await;
    let ended = verb(&["verify", "-"]).stdin(manifest.stdout).run().await.exits(1);
    assert!(ended.text().contains("* s3://bucket/plain\n"), "{}", ended.text());

    // Parts of an object, and what there is none of.
    let mut gateway = Gateway::connect(&up.server).await;
    let range = |offset, length| Some(ByteRange { offset, length });
    let tasks = vec![
        object("part", "s3://bucket/plain", range(2, 3)),
        object("rest", "s3://bucket/plain", range(5, 0)),
        object("beyond", "s3://bucket/plain", range(5, 3)),
        object("absent", "s3://bucket/absent", None),
    ];
    let found = outcomes(&mut gateway, tasks).await;
    assert_eq!(found[0].digests[0].hex, sha256_hex(b"ang"));
    assert_eq!(found[1].digests[0].hex, sha256_hex(b"ed"));
    assert_eq!((found[0].identity.as_ref().expect("it").size, found[0].attempt), (7, 1));
    assert_eq!((reason(&found[2]), reason(&found[3])), ("SOURCE_TOO_SHORT", "SOURCE_NOT_FOUND"));
    assert!(found[2].identity.is_none());

    // A bucket that the worker may not read waits for one that may.
    let request = SubmitBatchRequest {
        tasks: Some(Tasks::Rows(TaskRows { tasks: vec![object("x", "s3://private/x", None)] })),
        ..SubmitBatchRequest::default()
    };
    let id = gateway.submit_batch(request).await.expect("accepted").into_inner().submission.expect("it").submission_id;
    let request = GetSubmissionRequest { submission_id: id };
    let waits = gateway.get_submission(request).await.expect("it is there").into_inner().submission.expect("it");
    assert_eq!((waits.wait_reason(), waits.recorded_tasks), (WaitReason::WaitingForWorker, 0));
}

#[tokio::test]
async fn a_store_that_does_not_accept_the_worker_is_told_from_one_that_has_nothing() {
    let s3 = S3::start("strict-store", &["bucket"]).await;
    s3.put("bucket/key", b"x").await;
    let endpoint = ["--s3-endpoint", &s3.endpoint()].map(str::to_owned);
    let wrong = [("AWS_ACCESS_KEY_ID", "hashmesh-tests"), ("AWS_SECRET_ACCESS_KEY", "another")];
    let wrong = wrong.map(|(name, value)| (name.to_owned(), value.to_owned()));
    for (name, environment) in [("unsigned", &[][..]), ("wrongly-signed", &wrong[..])] {
        let options = ["--allow-source", "s3://", &endpoint[0], &endpoint[1]];
        let up = Up::start_in(name, &options, environment).await;
        let mut gateway = Gateway::connect(&up.server).await;
        let found = outcomes(&mut gateway, vec![object("x", "s3://bucket/key", None)]).await;
        assert_eq!((reason(&found[0]), found[0].attempt), ("SOURCE_DENIED", 1), "{name}");
        let message = &found[0].error.as_ref().expect("it failed").message;
        assert!(!message.contains("another") && !message.contains("127."), "{message}");
    }
}

#[tokio::test]
async fn a_web_server_is_read_where_its_network_is_allowed_and_nowhere_else() {
    let web = Web::start("web").await;
    let network = format!("{}/32", web.host);
    let url = web.url("a%20file");
    let up = Up::start("web-allowed", &["--allow-source", "http://", "--allow-network", &network]).await;
    let verb = |arguments: &[&str]| hashmesh(arguments).env("HASHMESH_SERVER", &up.server);
    let ended = verb(&["submit", &url]).run().await.succeeded();
    assert_eq!(ended.text(), format!("{}  {url}\n", sha256_hex(b"from the web")));

    let mut gateway = Gateway::connect(&up.server).await;
    let elsewhere = url.replace(&web.host, "127.0.0.1");
    let metadata = "http://169.254.169.254/latest/meta-data/";
    let tasks = vec![
        object("absent", &web.url("absent"), None),
        object("elsewhere", &elsewhere, None),
        object("metadata", metadata, None),
        object("directory", &web.url(""), None),
    ];
    let found = outcomes(&mut gateway, tasks).await;
    assert_eq!(
        found[..3].iter().map(reason).collect::<Vec<_>>(),
        ["SOURCE_NOT_FOUND", "SOURCE_NOT_ALLOWED", "SOURCE_NOT_ALLOWED"]
    );
    assert_eq!(found[3].status(), OutcomeStatus::Succeeded, "what a server sends for a directory is its affair");

    // Among others too, what no worker may read waits, and says so.
    let beside = vec![object("read", &url, None), object("x", "s3://bucket/x", None)];
    let request =
        SubmitBatchRequest { tasks: Some(Tasks::Rows(TaskRows { tasks: beside })), ..SubmitBatchRequest::default() };
    let id = gateway.submit_batch(request).await.expect("accepted").into_inner().submission.expect("it").submission_id;
    until("it to say why it waits", PATIENCE, async || {
        let request = GetSubmissionRequest { submission_id: id.clone() };
        let waits = gateway.get_submission(request).await.expect("it is there").into_inner().submission.expect("it");
        (waits.recorded_tasks == 1 && waits.wait_reason() == WaitReason::WaitingForWorker).then_some(())
    })
    .await;

    // Forms that are none are refused at the door, with the field.
    for uri in ["ftp://host/x", "http://user:secret@host/", "http://host/#f", "s3://bucket", "http://"] {
        let request = SubmitBatchRequest {
            tasks: Some(Tasks::Rows(TaskRows { tasks: vec![object("x", uri, None)] })),
            ..SubmitBatchRequest::default()
        };
        let status = gateway.submit_batch(request).await.expect_err(uri);
        let fields = crate::support::raw::violated_fields(&status);
        assert_eq!(fields, ["rows.tasks[0].object.uri"], "{uri}: {status:?}");
    }
}

/// Objects of the long test: enough that workers and Queue die in the middle.
const OBJECTS: usize = 4_000;

#[tokio::test]
async fn promise_2_objects_are_read_once_each_whatever_dies_meanwhile() {
    let s3 = S3::start("long-store", &["bucket"]).await;
    for number in 0..OBJECTS {
        fs::write(s3.bucket("bucket").join(number.to_string()), format!("object {number}")).expect("a file");
    }
    let options = MeshOptions {
        workers: 2,
        sources: vec!["s3://bucket".into()],
        worker_environment: s3.environment(),
        ..MeshOptions::default()
    };
    let mut mesh = Mesh::start("long-sources", options).await;
    let mut gateway = mesh.connect().await;
    let opened = gateway.create_submission(CreateSubmissionRequest::default()).await.expect("one").into_inner();
    let submission_id = opened.opened.expect("it").submission_id;
    for (sequence, numbers) in (0..OBJECTS).collect::<Vec<_>>().chunks(500).enumerate() {
        let tasks = numbers.iter().map(|number| object(&number.to_string(), &format!("s3://bucket/{number}"), None));
        let tasks = Some(batch::Tasks::Rows(TaskRows { tasks: tasks.collect() }));
        let batch = Some(Batch { sequence: sequence as u32, tasks, ..Batch::default() });
        let request = AppendBatchRequest { submission_id: submission_id.clone(), batch };
        gateway.append_batch(request).await.expect("accepted");
    }
    let batch_count = (OBJECTS / 500) as u32;
    let request = SealSubmissionRequest { submission_id: submission_id.clone(), batch_count };
    gateway.seal_submission(request).await.expect("sealed");

    let recorded = async |gateway: &mut Gateway| {
        let request = GetSubmissionRequest { submission_id: submission_id.clone() };
        let answer = gateway.get_submission(request).await.ok()?;
        answer.into_inner().submission
    };
    let reaches = async |gateway: &mut Gateway, count: u64| {
        until("objects to be read", PATIENCE, async || {
            recorded(gateway).await.filter(|submission| submission.recorded_tasks >= count)
        })
        .await
    };
    let early = reaches(&mut gateway, 200).await;
    assert!(early.recorded_tasks < OBJECTS as u64, "the first kill must hit work: {early:?}");
    mesh.workers[0].process.kill();
    let early = reaches(&mut gateway, 1_200).await;
    assert!(early.recorded_tasks < OBJECTS as u64, "the second kill must hit work: {early:?}");
    mesh.queue.restart().await;
    mesh.workers[0].restart().await;
    let last = until("all objects to be read", PATIENCE, async || {
        recorded(&mut gateway).await.filter(|submission| submission.state() == SubmissionState::Completed)
    })
    .await;
    assert_eq!((last.recorded_tasks, last.succeeded_tasks), (OBJECTS as u64, OBJECTS as u64), "{last:?}");

    let contents: Vec<String> = (0..OBJECTS).map(|number| format!("object {number}")).collect();
    let wanted = oracle::digests("sha256", contents.iter().map(String::as_bytes));
    let (mut seen, mut after_position) = (vec![false; OBJECTS], 0);
    loop {
        let submission_id = submission_id.clone();
        let request = ListResultsRequest { submission_id, after_position, ..ListResultsRequest::default() };
        let page = gateway.list_results(request).await.expect("a page").into_inner();
        for row in page.outcomes {
            let number: usize = row.name.parse().expect("its number");
            assert_eq!(row.digests[0].hex, hex::encode(&wanted[number]), "{row:?}");
            assert!(!std::mem::replace(&mut seen[number], true), "twice: {row:?}");
        }
        after_position = page.next_after_position;
        if page.end {
            break;
        }
    }
    assert!(seen.into_iter().all(|seen| seen));
}

#[tokio::test]
async fn a_name_that_resolves_to_another_address_each_time_gains_nothing() {
    let web = Web::start("rebinding-web").await;
    let secret = own_host();
    let listener = TcpListener::bind((secret.as_str(), 8080)).await.expect("a port of its own");
    let address = |host: &str| host.parse::<Ipv4Addr>().expect("an address");
    let (public, private) = (address(&web.host), address(&secret));
    let dns = Dns::start("rebinding-dns", move |nth| if nth.is_multiple_of(2) { public } else { private });
    let network = format!("{}/32", web.host);
    let options = ["--allow-source", "http://rebind.test:8080", "--allow-network", &network];
    let up = Up::start_in("rebinding", &options, &[dns.environment()]).await;
    let mut gateway = Gateway::connect(&up.server).await;
    let url = "http://rebind.test:8080/a%20file";
    let tasks = (0..40).map(|number| object(&number.to_string(), url, None)).collect();
    let found = outcomes(&mut gateway, tasks).await;
    let (read, refused): (Vec<_>, Vec<_>) =
        found.iter().partition(|outcome| outcome.status() == OutcomeStatus::Succeeded);
    assert!(!read.is_empty() && !refused.is_empty(), "{} read, {} refused", read.len(), refused.len());
    let wanted = sha256_hex(b"from the web");
    assert!(read.iter().all(|outcome| outcome.digests[0].hex == wanted));
    assert!(refused.iter().all(|outcome| reason(outcome) == "SOURCE_NOT_ALLOWED"));
    assert!(dns.questions() >= 2);
    assert!(listener.accept().now_or_never().is_none(), "somebody came to where nobody may go");
}

/// A web server that answers each request for a path with the next of its answers, and with the last for good.
async fn scripted(answers: &'static [(&'static str, &'static [&'static str])]) -> String {
    let mut asked: BTreeMap<String, usize> = BTreeMap::new();
    scripted_web::serve(move |request| {
        let path = request.split(' ').nth(1).unwrap_or_default();
        let (_, answers) = answers.iter().find(|(known, _)| *known == path)?;
        let nth = asked.entry(path.to_owned()).or_default();
        *nth += 1;
        Some((answers[(*nth - 1).min(answers.len() - 1)].to_owned(), "ok".to_owned()))
    })
    .await
}

#[tokio::test]
async fn what_may_pass_is_tried_again_when_the_server_says_and_what_may_not_is_not() {
    const ANSWERS: &[(&str, &[&str])] = &[
        ("/flaky", &["500 No", "502 No", "500 No", "200 OK"]),
        ("/throttled", &["429 No\r\nretry-after: 1", "200 OK"]),
        ("/absent", &["404 No"]),
        ("/denied", &["403 No"]),
        ("/down", &["503 No"]),
    ];
    let address = scripted(ANSWERS).await;
    let host = address.split(':').next().expect("a host");
    let (source, network) = (format!("http://{address}"), format!("{host}/32"));
    let up = Up::start("scripted-web", &["--allow-source", &source, "--allow-network", &network]).await;
    let mut gateway = Gateway::connect(&up.server).await;
    // One after another, and what never works last: five failures in a row keep others waiting.
    let mut found = Vec::new();
    for (path, _) in ANSWERS {
        found.extend(outcomes(&mut gateway, vec![object(path, &format!("{source}{path}"), None)]).await);
    }
    let told: Vec<_> = found
        .iter()
        .map(|outcome| (outcome.attempt, outcome.error.as_ref().map_or("", |error| error.reason.as_str())))
        .collect();
    let wanted = [(4, ""), (2, ""), (1, "SOURCE_NOT_FOUND"), (1, "SOURCE_DENIED"), (5, "SOURCE_UNREADABLE")];
    assert_eq!(told, wanted);
    assert_eq!(found[0].digests[0].hex, sha256_hex(b"ok"));
}
