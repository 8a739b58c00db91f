//! Who is refused, and what they are told.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use bytes::Bytes;
use hashmesh::{
    error::reason,
    queue::v1::{GetQueueStatsRequest, queue_service_client::QueueServiceClient},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use super::{Secure, certs, chain, channel, grpcurl, told};
use crate::support::{
    Role, any_rpc,
    authority::{Authority, Pair},
    cli::{Run, hashmesh, program},
    mesh::own_host,
    rundir,
};

/// What an answer that needs no waiting takes at most; outages are waited out for a minute.
const AT_ONCE: Duration = Duration::from_secs(20);
/// How long a peer may take to its first call.
const TO_THE_PREFACE: Duration = Duration::from_secs(5);

/// A Gateway that needs nobody behind it to be asked for its capabilities.
async fn alone(name: &str, host: &str, arguments: &[String]) -> Role {
    let mut all = ["--queue", "http://127.0.0.1:1", "--hash", "http://127.0.0.1:1"].map(str::to_owned).to_vec();
    all.extend_from_slice(arguments);
    Role::start_on(host, "gateway", "gateway", all, &[], rundir::directory(name)).await
}

fn list(server: &str, ca: Option<&Path>) -> Run {
    let run = hashmesh(["list", "--server", server]);
    ca.into_iter().fold(run, |run, ca| run.arg("--tls-ca").arg(ca))
}

#[tokio::test]
async fn plain_text_to_a_server_of_tls_and_the_reverse_are_told_what_to_do() {
    let directory = rundir::directory("tls-mixed").join("certs");
    let host = own_host();
    certs(&directory, &host, &[]).await;
    let ca = directory.join("ca.pem");
    let pair = Pair::of(&directory, "gateway");
    let encrypted = alone("tls-mixed-encrypted", &host, &pair.options(Some(&ca))).await;
    let plain = alone("tls-mixed-plain", &host, &[]).await;

    let ended = list(&encrypted.url(), None).run().await.exits(73);
    assert!(ended.stderr.contains("https://") && ended.stderr.contains("--tls-ca"), "{}", ended.stderr);
    let method = "hashmesh.gateway.v1.GatewayService/GetCapabilities";
    let ended = program(grpcurl(), ["-plaintext", &encrypted.address, method]).run().await;
    assert!(ended.stderr.contains("this address speaks TLS"), "{}", ended.stderr);

    let server = format!("https://{}", plain.address);
    let ended = list(&server, Some(&ca)).run().await.exits(78);
    assert!(ended.stderr.contains("if it speaks plain text, say http://"), "{}", ended.stderr);
    let ended = program(grpcurl(), ["-cacert", &ca.display().to_string(), &plain.address, method]).run().await;
    assert!(ended.stderr.contains("protocol version not supported"), "{}", ended.stderr);
}

#[tokio::test]
async fn a_server_that_cannot_be_believed_is_refused_at_once_with_the_reason() {
    let host = own_host();
    let (ours, others) = (rundir::directory("tls-ours"), rundir::directory("tls-others"));
    let (authority, other) = (Authority::new(&ours), Authority::new(&others));
    for (name, host_of, expired, ca, wanted) in [
        ("unknown", host.as_str(), false, other.ca(), "UnknownIssuer"),
        ("expired", &host, true, authority.ca(), "expired"),
        ("another-name", "elsewhere.example", false, authority.ca(), "not valid for name"),
    ] {
        let pair = authority.issue(name, host_of, None, expired);
        let gateway = alone(&format!("tls-{name}"), &host, &pair.options(None)).await;
        let began = Instant::now();
        let ended = list(&format!("https://{}", gateway.address), Some(&ca)).run().await.exits(78);
        assert!(ended.stderr.contains(wanted) && ended.stderr.contains("no TLS with"), "{name}: {}", ended.stderr);
        assert!(began.elapsed() < AT_ONCE, "{name}: {:?}", began.elapsed());
    }
}

#[tokio::test]
async fn a_service_whose_own_certificate_nobody_would_believe_does_not_start() {
    let directory = rundir::directory("tls-unusable");
    let authority = Authority::new(&directory);
    let uri = |role: &str| format!("spiffe://mesh/hashmesh/{role}");
    let refused = async |pair: Pair, wanted: &str| {
        let run = hashmesh(["hash", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"]);
        let run = pair.options(Some(&authority.ca())).into_iter().fold(run, Run::arg);
        let ended = run.run().await.exits(1);
        assert!(ended.stderr.contains(wanted), "{}", ended.stderr);
    };
    refused(authority.issue("expired", "localhost", Some(&uri("hash")), true), "expired").await;
    refused(authority.issue("other", "localhost", Some(&uri("worker")), false), "spiffe://TRUST_DOMAIN/hashmesh/hash")
        .await;
    let mut mixed = authority.issue("one", "localhost", Some(&uri("hash")), false);
    mixed.key = authority.issue("two", "localhost", Some(&uri("hash")), false).key;
    refused(mixed, "is of no use with the certificate").await;
    let half = ["hash", "--listen", "127.0.0.1:0", "--tls-cert", "some.pem"];
    let ended = hashmesh(half).run().await.exits(1);
    assert!(ended.stderr.contains("--tls-key"), "{}", ended.stderr);
}

#[tokio::test]
async fn a_service_behind_the_gateway_refuses_who_shows_no_certificate_or_one_that_is_not_believed() {
    let mesh = Secure::start("tls-mutual").await;
    let queue = mesh.queue.address.as_str();
    let ca = mesh.ca();
    let stats = async |pair: Option<&Pair>| match channel(queue, &ca, pair).await {
        Ok(channel) => {
            let asked = QueueServiceClient::new(channel).get_queue_stats(GetQueueStatsRequest {}).await;
            asked.map(drop).map_err(|status| (reason(&status), told(&status)))
        }
        Err(error) => Err((None, chain(&error))),
    };
    stats(Some(&mesh.pair("gateway"))).await.expect("a Gateway may");
    let (why, text) = stats(None).await.expect_err("nobody");
    assert!(why.is_none() && text.contains("CertificateRequired"), "{text}");
    let directory = rundir::directory("tls-mutual-other");
    let other = Authority::new(&directory);
    let uri = Some("spiffe://hashmesh.internal/hashmesh/gateway");
    let (why, text) = stats(Some(&other.issue("gateway", "localhost", uri, false))).await.expect_err("unknown");
    assert!(why.is_none() && (text.contains("alert") || text.contains("onnection")), "{text}");
    // Whoever runs it can see why.
    let mut queue_role = mesh.queue;
    let refused = |log: &str| log.lines().filter(|line| line.contains("connection refused")).count();
    queue_role.process.find_in_log("whom it refused", |log| (refused(log) >= 2).then_some(())).await;
}

#[tokio::test]
async fn a_slow_handshake_is_cut_and_holds_up_nobody() {
    let directory = rundir::directory("tls-slow").join("certs");
    let host = own_host();
    certs(&directory, &host, &[]).await;
    let ca = directory.join("ca.pem");
    let pair = Pair::of(&directory, "gateway");
    let gateway = alone("tls-slow-gateway", &host, &pair.options(Some(&ca))).await;
    let mut slow = Vec::new();
    for _ in 0..50 {
        let mut stream = TcpStream::connect(&gateway.address).await.expect("it listens");
        // The begin of a ClientHello, and no more.
        stream.write_all(&[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc]).await.expect("taken");
        slow.push(stream);
    }
    let began = Instant::now();
    let others = channel(&gateway.address, &ca, None).await.expect("served");
    any_rpc::call(&others, "/grpc.health.v1.Health/Check", None, Bytes::new()).await.expect("served");
    assert!(began.elapsed() < TO_THE_PREFACE, "{:?}", began.elapsed());
    for mut stream in slow {
        let _ = tokio::time::timeout(AT_ONCE, stream.read_to_end(&mut Vec::new())).await.expect("cut");
    }
    assert!(began.elapsed() > TO_THE_PREFACE - Duration::from_secs(1), "{:?}", began.elapsed());
}

#[tokio::test]
async fn what_others_can_reach_wants_tls_and_keys_or_certificates() {
    for role in ["hash", "worker", "queue"] {
        let mut arguments = vec![role, "--listen", "0.0.0.0:0", "--admin-listen", "127.0.0.1:0"];
        arguments.extend(match role {
            "worker" => ["--queue", "http://127.0.0.1:1"].as_slice(),
            "queue" => &["--database-url", "postgres://127.0.0.1:1/none"],
            _ => &[],
        });
        let ended = hashmesh(arguments).run().await.exits(1);
        for wanted in ["refusing to serve on 0.0.0.0", "hashmesh certs", "--tls-ca", "--insecure"] {
            assert!(ended.stderr.contains(wanted), "{role}: {}", ended.stderr);
        }
    }
    let directory = rundir::directory("tls-reachable").join("certs");
    certs(&directory, "mesh.example", &[]).await;
    let ca = directory.join("ca.pem");
    let options = Pair::of(&directory, "gateway").options(Some(&ca));
    let off = ["gateway", "--listen", "0.0.0.0:0", "--queue", "http://127.0.0.1:1", "--hash", "http://127.0.0.1:1"];
    let run = options.iter().fold(hashmesh(off).arg("--auth").arg("off"), Run::arg);
    let ended = run.run().await.exits(1);
    assert!(ended.stderr.contains("--auth keys"), "{}", ended.stderr);
    // With both it serves, and asks for keys by itself.
    let gateway = alone("tls-reachable-gateway", "0.0.0.0", &options).await;
    let server = format!("https://{}", gateway.address);
    let ended = list(&server, Some(&ca)).run().await.exits(80);
    assert!(ended.stderr.contains("--api-key"), "{}", ended.stderr);
}

#[tokio::test]
async fn a_key_is_not_sent_as_plain_text_to_another_machine() {
    let key = hashmesh::keys::KeyText::mint();
    let arguments = ["list", "--server", "http://192.0.2.1:7420", "--retry-for", "0s"];
    let ended = hashmesh(arguments).env("HASHMESH_API_KEY", key.reveal()).run().await.exits(2);
    assert!(ended.stderr.contains("https://") && ended.stderr.contains("--insecure"), "{}", ended.stderr);
    assert!(!ended.stderr.contains(key.reveal()));
}
