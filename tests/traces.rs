//! What a real OpenTelemetry collector is given: the way of one submission, what failed, and that nobody waits for it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::unix::ffi::OsStrExt as _,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use hashmesh::{
    gateway::v1::{ComputeDigestRequest, CreateSubmissionRequest, GetStatsRequest},
    tasks::file_uri,
    v1::{Expansion, SubmissionOptions, SubmissionState},
};
use tonic::{Code, metadata::MetadataValue};

use crate::support::{
    Gateway, Mesh, MeshOptions,
    cli::hashmesh,
    collector::{Collector, Kind, Span, Status},
    envoy::Envoy,
    mesh::{Role, own_host},
    rundir, scripted_web,
    wait::{PATIENCE, soon, until},
};

/// What every role's environment has that tells this collector of this share of the traces that begin with it.
fn telling(collector: &Collector, ratio: &str) -> Vec<(String, String)> {
    let endpoint = collector.grpc_endpoint();
    [("HASHMESH_OTLP_ENDPOINT", endpoint.as_str()), ("HASHMESH_TRACE_RATIO", ratio)]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec()
}

/// A mesh whose processes all tell the collector.
async fn traced(name: &str, collector: &Collector, ratio: &str, workers: usize) -> Mesh {
    let environment = telling(collector, ratio);
    let options = MeshOptions {
        workers,
        queue_environment: environment.clone(),
        gateway_environment: environment.clone(),
        worker_environment: environment,
        ..MeshOptions::default()
    };
    Mesh::start(name, options).await
}

/// The spans that are one picture with this one: of its trace, and of those that are linked to it, directly or by others.
fn connected(spans: &[Span], of: &Span) -> Vec<Span> {
    let mut traces = BTreeSet::from([of.trace_id.clone()]);
    loop {
        let before = traces.len();
        for span in spans {
            let touches = traces.contains(&span.trace_id) || span.links.iter().any(|(trace, _)| traces.contains(trace));
            if touches {
                traces.insert(span.trace_id.clone());
                traces.extend(span.links.iter().map(|(trace, _)| trace.clone()));
            }
        }
        if traces.len() == before {
            return spans.iter().filter(|span| traces.contains(&span.trace_id)).cloned().collect();
        }
    }
}

/// The picture as a tree in text; links are named behind an arrow.
fn drawn(spans: &[Span]) -> String {
    let names: BTreeMap<_, _> = spans.iter().map(|span| (span.span_id.as_str(), span)).collect();
    let mut sorted: Vec<&Span> = spans.iter().collect();
    sorted.sort_by_key(|span| span.start_ns);
    let mut text = String::new();
    let mut pending: Vec<(usize, &Span)> = sorted
        .iter()
        .rev()
        .filter(|span| !names.contains_key(span.parent_span_id.as_str()))
        .map(|span| (0, *span))
        .collect();
    while let Some((depth, span)) = pending.pop() {
        let links: Vec<_> = span
            .links
            .iter()
            .map(|(_, id)| names.get(id.as_str()).map_or("?", |linked| linked.name.as_str()).to_owned())
            .collect();
        let links = if links.is_empty() { String::new() } else { format!("  -> {}", links.join(", ")) };
        let failed = if let Status::Error(why) = &span.status { format!("  ! {why}") } else { String::new() };
        text.push_str(&format!("{}{} [{}]{links}{failed}\n", "  ".repeat(depth), span.name, span.service));
        pending.extend(
            sorted.iter().rev().filter(|child| child.parent_span_id == span.span_id).map(|child| (depth + 1, *child)),
        );
    }
    text
}

fn named<'a>(spans: &'a [Span], service: &str, name: &str) -> Vec<&'a Span> {
    spans.iter().filter(|span| span.service == service && span.name == name).collect()
}

#[tokio::test]
async fn one_submission_is_one_linked_picture_from_the_client_through_envoy_and_two_workers_and_a_retry_and_back() {
    let collector = Collector::start("picture").await;
    // Refuses as long as the first worker lives; so the retry is the second's.
    let (open, asked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)));
    let object = {
        let (open, asked) = (Arc::clone(&open), Arc::clone(&asked));
        scripted_web::serve(move |_| {
            asked.fetch_add(1, Ordering::Relaxed);
            let head = if open.load(Ordering::Relaxed) { "200 OK" } else { "503 No\r\nretry-after: 1" };
            Some((head.to_owned(), "ok".to_owned()))
        })
        .await
    };
    let host = object.split(':').next().expect("a host");
    let mut mesh = traced("picture", &collector, "0", 0).await;
    let sources =
        [("HASHMESH_ALLOW_SOURCE", format!("http://{object}")), ("HASHMESH_ALLOW_NETWORK", format!("{host}/32"))];
    mesh.options.worker_environment.extend(sources.map(|(name, value)| (name.to_owned(), value)));
    mesh.add_worker().await;
    let change = format!("address: {}, port_value: 4317", collector.host);
    let changes = [("address: 127.0.0.1, port_value: 4317", change.as_str())];
    let envoy = Envoy::start("picture-envoy", &[mesh.gateway.address.clone()], &changes).await;

    let (server, endpoint, uri) = (envoy.url(), collector.grpc_endpoint(), format!("http://{object}/object"));
    let arguments = ["submit", &uri, "--server", &server, "--otlp-endpoint", &endpoint, "--trace-ratio", "1"];
    let submitting = tokio::spawn(hashmesh(arguments).run());
    until("the first worker to be refused", PATIENCE, async || (asked.load(Ordering::Relaxed) > 0).then_some(())).await;
    mesh.add_worker().await;
    assert!(mesh.workers[0].terminate().await.success());
    open.store(true, Ordering::Relaxed);
    soon("the submission", submitting).await.expect("no panic").succeeded();

    let wanted = |spans: &[Span]| {
        let root = *named(spans, "hashmesh-client", "hashmesh submit").first()?;
        let picture = connected(spans, root);
        let workers: BTreeSet<_> = named(&picture, "hashmesh-worker", "worker lease")
            .iter()
            .map(|span| span.resource["service.instance.id"].clone())
            .collect();
        // Each process sends when it likes.
        let ids: BTreeSet<_> = picture.iter().map(|span| span.span_id.as_str()).collect();
        let caused = |span: &Span| span.parent_span_id.is_empty() || ids.contains(span.parent_span_id.as_str());
        let complete = workers.len() == 2
            && picture.iter().all(|span| caused(span) && span.links.iter().all(|(_, id)| ids.contains(id.as_str())))
            && picture.iter().any(|span| span.service.contains("envoy"))
            && !named(&picture, "hashmesh-client", "receive results").is_empty()
            // Of the attempt that is repeated, and of the outcome.
            && named(&picture, "hashmesh-queue", "queue record").len() >= 2;
        complete.then_some((root.clone(), picture))
    };
    let found = tokio::time::timeout(PATIENCE / 2, collector.wait_for("the whole picture", wanted)).await;
    let Ok((root, picture)) = found else { panic!("incomplete:\n{}", drawn(&collector.spans())) };
    let drawing = drawn(&picture);
    println!("{drawing}");

    assert!(picture.iter().all(|span| span.end_ns >= span.start_ns), "\n{drawing}");
    let by_id = |id: &str| picture.iter().find(|span| span.span_id == id).unwrap_or_else(|| panic!("{id}\n{drawing}"));
    let one = |service: &str, name: &str| -> Span {
        let found = named(&picture, service, name);
        assert_eq!(found.len(), 1, "{name} in\n{drawing}");
        found[0].clone()
    };
    // Down: each is caused by the one before.
    let sent = one("hashmesh-client", "submit batch");
    assert_eq!(sent.parent_span_id, root.span_id, "\n{drawing}");
    let taken = one("hashmesh-gateway", "gateway batch");
    assert_eq!(taken.parent_span_id, sent.span_id, "\n{drawing}");
    let committed = one("hashmesh-queue", "queue commit");
    assert_eq!(committed.parent_span_id, taken.span_id, "\n{drawing}");
    assert_eq!(committed.kind, Kind::Producer);
    assert_eq!(committed.attributes["messaging.system"], "hashmesh");
    assert_eq!(committed.attributes["messaging.batch.message_count"], "1");
    // The stream itself came through Envoy.
    let opened = one("hashmesh-gateway", "gateway open");
    let through = by_id(&opened.parent_span_id);
    assert!(through.service.contains("envoy"), "{through:?}\n{drawing}");
    assert_eq!(through.trace_id, root.trace_id, "\n{drawing}");
    // Over the queue: leases are traces of their own, linked to the commit; each attempt is one.
    let leases = named(&picture, "hashmesh-queue", "queue lease");
    assert!(leases.len() >= 2, "\n{drawing}");
    let attempts: BTreeSet<_> = leases.iter().map(|lease| lease.attributes["hashmesh.attempt"].as_str()).collect();
    assert_eq!(attempts.len(), leases.len(), "\n{drawing}");
    for lease in &leases {
        assert!(lease.links.contains(&(committed.trace_id.clone(), committed.span_id.clone())), "{lease:?}\n{drawing}");
        assert_ne!(lease.trace_id, committed.trace_id);
        let worked: Vec<_> = picture.iter().filter(|span| span.parent_span_id == lease.span_id).collect();
        assert!(worked.iter().any(|span| span.name == "worker lease"), "{lease:?}\n{drawing}");
    }
    // And back.
    let linked = |span: &Span, to: &Span| span.links.contains(&(to.trace_id.clone(), to.span_id.clone()));
    let delivered = named(&picture, "hashmesh-gateway", "gateway results");
    let records = named(&picture, "hashmesh-queue", "queue record");
    let found = records.iter().find(|record| delivered.iter().any(|span| linked(span, record)));
    let recorded = found.unwrap_or_else(|| panic!("no results are linked to what was recorded in\n{drawing}"));
    assert_eq!(recorded.attributes["hashmesh.succeeded_tasks"], "1", "{recorded:?}");
    assert_eq!(by_id(&recorded.parent_span_id).name, "worker lease", "\n{drawing}");
    assert!(linked(recorded, &committed), "\n{drawing}");
    let received = named(&picture, "hashmesh-client", "receive results");
    assert!(received.iter().any(|span| delivered.iter().any(|sent| linked(span, sent))), "\n{drawing}");
    assert!(received.iter().all(|span| span.trace_id == root.trace_id), "\n{drawing}");
}

#[tokio::test]
async fn a_page_of_a_listing_is_linked_to_the_call_that_created_the_submission_and_what_it_brought_goes_on_from_it() {
    const CALLER: &str = "00-2cf7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let collector = Collector::start("listing").await;
    let directory = rundir::directory("traced-listing");
    for name in ["one", "two"] {
        fs::write(directory.join(name), name).expect("a file");
    }
    let mut mesh = traced("listing", &collector, "0", 0).await;
    mesh.options.sources.push(directory.clone());
    mesh.add_worker().await;
    let mut gateway = mesh.connect().await;
    let source_uri = format!("{}/", file_uri(directory.as_os_str().as_bytes()));
    let options = SubmissionOptions { expansion: Some(Expansion { source_uri }), ..SubmissionOptions::default() };
    let message = CreateSubmissionRequest { options: Some(options), ..CreateSubmissionRequest::default() };
    let mut request = tonic::Request::new(message);
    request.metadata_mut().insert("traceparent", MetadataValue::from_static(CALLER));
    let created = soon("a submission", gateway.create_submission(request)).await.expect("it is created").into_inner();
    let id = created.opened.expect("it is there").submission_id;
    gateway.reaches(&id, SubmissionState::Completed).await;

    let way = |spans: &[Span]| {
        let linked = |span: &Span, to: &Span| span.links.contains(&(to.trace_id.clone(), to.span_id.clone()));
        let created = spans.iter().find(|span| {
            span.trace_id == CALLER[3..35]
                && span.kind == Kind::Server
                && span.name.ends_with("QueueService/CreateSubmission")
        })?;
        let page = *named(spans, "hashmesh-worker", "worker list").iter().find(|page| linked(page, created))?;
        let commit =
            *named(spans, "hashmesh-queue", "queue commit").iter().find(|one| one.parent_span_id == page.span_id)?;
        let lease = *named(spans, "hashmesh-queue", "queue lease").iter().find(|lease| linked(lease, commit))?;
        Some((page.clone(), commit.clone(), lease.clone()))
    };
    let (page, commit, lease) = collector.wait_for("the way of a page", way).await;
    assert_eq!(page.attributes["messaging.batch.message_count"], "2", "{page:?}");
    assert_eq!((commit.trace_id == page.trace_id, page.trace_id == CALLER[3..35]), (true, false));
    assert_eq!(lease.attributes["hashmesh.submission_id"], id);
}

#[tokio::test]
async fn what_fails_is_kept_with_its_callers_trace_though_nothing_is_sampled() {
    const CALLER: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";
    let collector = Collector::start("kept").await;
    let mut mesh = traced("kept", &collector, "0", 1).await;
    let mut gateway = mesh.connect().await;
    let called = |request: ComputeDigestRequest| {
        let mut request = tonic::Request::new(request);
        request.metadata_mut().insert("traceparent", MetadataValue::from_static(CALLER));
        request
    };
    let wanted = || ComputeDigestRequest { algorithms: vec![2], ..ComputeDigestRequest::default() };
    soon("a digest", gateway.compute_digest(called(wanted()))).await.expect("it is computed");
    mesh.hash.process.kill();
    let refused = soon("a refusal", gateway.compute_digest(called(wanted()))).await.expect_err("nobody is there");
    assert_eq!(refused.code(), Code::Unavailable);

    // The processes have calls of their own, and traces of their own.
    let callers = |spans: &[Span]| -> Vec<Span> {
        let of_trace = spans.iter().filter(|span| span.trace_id == CALLER[3..35] && span.kind == Kind::Server);
        of_trace.cloned().collect()
    };
    let span = collector.wait_for("the failed call", |spans| callers(spans).first().cloned()).await;
    assert_eq!(
        (span.service.as_str(), span.name.as_str()),
        ("hashmesh-gateway", "hashmesh.gateway.v1.GatewayService/ComputeDigest")
    );
    assert_eq!((span.trace_id.as_str(), span.parent_span_id.as_str()), (&CALLER[3..35], &CALLER[36..52]));
    assert!(matches!(span.status, Status::Error(_)), "{span:?}");
    assert_eq!(span.attributes["rpc.system"], "grpc");
    assert_eq!(span.attributes["rpc.grpc.status_code"], "14");
    // The one that succeeded was not sampled.
    assert_eq!(callers(&collector.spans()).len(), 1, "{:?}", collector.spans());
}

#[tokio::test]
async fn a_call_within_a_sampled_trace_is_in_it_and_so_are_its_log_lines() {
    const CALLER: &str = "00-1bf7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let collector = Collector::start("sampled").await;
    let mut mesh = traced("sampled", &collector, "0", 0).await;
    let mut gateway = mesh.connect().await;
    let mut request = tonic::Request::new(GetStatsRequest {});
    request.metadata_mut().insert("traceparent", MetadataValue::from_static(CALLER));
    soon("stats", gateway.get_stats(request)).await.expect("they are there");
    let hops = |spans: &[Span]| {
        let hop = |method: &str, kind| {
            let of_trace = |span: &&Span| span.trace_id == CALLER[3..35] && span.kind == kind;
            spans.iter().filter(of_trace).find(|span| span.name.ends_with(method)).cloned()
        };
        let (gateway, queue) = ("GatewayService/GetStats", "QueueService/GetQueueStats");
        Some([hop(gateway, Kind::Server)?, hop(queue, Kind::Client)?, hop(queue, Kind::Server)?])
    };
    let [server, client, queue] = collector.wait_for("three hops", hops).await;
    assert_eq!((server.parent_span_id.as_str(), server.trace_id.as_str()), (&CALLER[36..52], &CALLER[3..35]));
    assert_eq!(client.parent_span_id, server.span_id);
    assert_eq!(queue.parent_span_id, client.span_id);

    // A line that is logged within a call says of which trace it is. Nobody but this call asks for Hash: the breaker in front of
    // it is closed.
    mesh.hash.process.kill();
    let message = ComputeDigestRequest { algorithms: vec![2], ..ComputeDigestRequest::default() };
    let mut request = tonic::Request::new(message);
    request.metadata_mut().insert("traceparent", MetadataValue::from_static(CALLER));
    soon("a refusal", gateway.compute_digest(request)).await.expect_err("nobody is there");
    mesh.gateway.process.find_in_log("a line with the trace", |log| log.contains(&CALLER[3..35]).then_some(())).await;
}

/// What a role counts; the sum over its series.
async fn counted(role: &Role, metric: &str) -> f64 {
    let answer = hashmesh_get(&role.admin, "/metrics").await;
    let series = answer.lines().filter(|line| line.starts_with(metric));
    series.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}

async fn hashmesh_get(admin: &str, path: &str) -> String {
    let arguments = ["--silent", "--show-error", "--fail", "--max-time", "10"];
    crate::support::cli::program("curl", arguments).arg(format!("http://{admin}{path}")).run().await.succeeded().text()
}

#[tokio::test]
async fn a_collector_that_is_stopped_or_away_costs_spans_which_are_counted_and_no_one_waits_for_it() {
    let collector = Collector::start("stopped").await;
    let mut mesh = traced("stopped", &collector, "1", 1).await;
    let mut gateway = mesh.connect().await;
    let digest = async |gateway: &mut Gateway| {
        let request = ComputeDigestRequest { algorithms: vec![2], ..ComputeDigestRequest::default() };
        soon("a digest", gateway.compute_digest(request)).await.expect("it is computed");
    };
    digest(&mut gateway).await;
    collector.wait_for("a first span", |spans| (!spans.is_empty()).then_some(())).await;
    until("spans to count", PATIENCE, async || {
        (counted(&mesh.gateway, "hashmesh_trace_exported_spans_total").await > 0.0).then_some(())
    })
    .await;

    collector.process.freeze();
    until("spans to be thrown away", PATIENCE, async || {
        digest(&mut gateway).await;
        (counted(&mesh.gateway, "hashmesh_trace_dropped_spans_total").await > 0.0).then_some(())
    })
    .await;
    // Both have spans that wait, and a request under way.
    digest(&mut gateway).await;
    drop(gateway);
    for role in [&mut mesh.gateway, &mut mesh.workers[0], &mut mesh.queue] {
        let began = Instant::now();
        assert!(role.terminate().await.success(), "{role:?}");
        // The drain, and 2 s for what waits to be sent.
        assert!(began.elapsed() < Duration::from_secs(15), "{:?} {role:?}", began.elapsed());
    }
    collector.process.thaw();

    // Nobody listens where this one is told to send.
    let nowhere = [("HASHMESH_OTLP_ENDPOINT".to_owned(), format!("http://{}:4317", own_host()))];
    let environment: Vec<_> =
        nowhere.into_iter().chain([("HASHMESH_TRACE_RATIO".to_owned(), "1".to_owned())]).collect();
    mesh.queue.restart().await;
    mesh.queue.ready().await;
    let alone = mesh.further_gateway("alone", &environment).await;
    let mut gateway = Gateway::connect(&alone.url()).await;
    until("spans to be thrown away", PATIENCE, async || {
        digest(&mut gateway).await;
        (counted(&alone, "hashmesh_trace_dropped_spans_total{reason=\"export_failed\"}").await > 0.0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn metrics_are_sent_too_by_http_as_well() {
    let collector = Collector::start("sent").await;
    let mesh = Mesh::start("sent", MeshOptions { workers: 0, ..MeshOptions::default() }).await;
    let environment: Vec<_> = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", collector.http_endpoint()),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf".to_owned()),
        ("OTEL_TRACES_SAMPLER_ARG", "1".to_owned()),
        ("OTEL_SERVICE_NAME", "door".to_owned()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .to_vec();
    let mut gateway = mesh.further_gateway("http", &environment).await;
    let mut client = Gateway::connect(&gateway.url()).await;
    soon("stats", client.get_stats(GetStatsRequest {})).await.expect("they are there");
    drop(client);
    // The last are sent at the end.
    assert!(gateway.terminate().await.success());
    collector
        .wait_for("spans of that name", |spans| spans.iter().any(|span| span.service == "door").then_some(()))
        .await;
    until("metrics", PATIENCE, async || {
        let names = collector.metric_names();
        let wanted =
            ["hashmesh_rpc_server_calls_total", "hashmesh_gateway_batches_total", "hashmesh_process_cpu_seconds_total"];
        wanted.iter().all(|name| names.contains(*name)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_collectors_address_that_is_none_is_refused_before_anything_starts() {
    for (endpoint, told) in
        [("collector:4317", "http://"), ("http://user:secret@collector:4317", "OTEL_EXPORTER_OTLP_HEADERS")]
    {
        let ended =
            hashmesh(["worker", "--queue", "http://127.0.0.1:1", "--otlp-endpoint", endpoint]).run().await.exits(2);
        assert!(ended.stderr.contains(told) && !ended.stderr.contains("secret"), "{}", ended.stderr);
    }
    let ended = hashmesh(["stats", "--trace-ratio", "1.1"]).run().await.exits(2);
    assert!(ended.stderr.contains("wanted 0 to 1"), "{}", ended.stderr);
}
