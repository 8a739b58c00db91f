//! Servers and channels over real sockets, with certificates of an authority of the test's own.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use hashmesh::error::{Reason, reason};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};
use tokio_util::task::AbortOnDropHandle;
use tonic::{Code, Status, transport::Channel};

use super::{
    Identity, Role, Tls, TlsError, TlsFiles,
    test_authority::{Authority, write},
};
use crate::{
    channel,
    health::Health,
    server::{GrpcServer, ServerLimits},
    shutdown::Shutdown,
};

const PATIENCE: Duration = Duration::from_secs(20);
const OFTEN: Duration = Duration::from_millis(10);
const HASH: &str = "/hashmesh.hash.v1.HashService/ComputeDigest";
const HEALTH: &str = "/grpc.health.v1.Health/Check";

async fn open(files: TlsFiles, role: Role) -> Tls {
    Tls::open_looking(files, role, OFTEN).await.unwrap()
}

/// A server of no service but health, which is enough to ask who may call what.
struct Served {
    address: SocketAddr,
    _task: AbortOnDropHandle<()>,
}

impl Served {
    async fn start(tls: Option<Tls>, limits: ServerLimits) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let health = Health::new();
        health.serving();
        let server = GrpcServer::new("test", health).limits(limits).tls(tls);
        let task = AbortOnDropHandle::new(tokio::spawn(async move {
            server.serve(listener, Shutdown::new()).await.unwrap();
        }));
        Self { address, _task: task }
    }

    fn url(&self) -> String {
        format!("https://{}", self.address)
    }

    fn channel(&self, service: Role, tls: &Tls) -> Channel {
        channel::to(service, &self.url(), Some(tls)).unwrap()
    }
}

/// Calls a method with an empty message.
async fn call(channel: &Channel, path: &'static str) -> Result<(), Status> {
    let mut grpc = tonic::client::Grpc::new(channel.clone());
    grpc.ready().await.map_err(|error| Status::from_error(error.into()))?;
    let codec = tonic_prost::ProstCodec::<(), ()>::default();
    let path = http::uri::PathAndQuery::from_static(path);
    grpc.unary(tonic::Request::new(()), path, codec).await.map(drop)
}

/// A status with what is behind it.
fn text(status: &Status) -> String {
    let mut text = status.to_string();
    let mut cause = std::error::Error::source(status);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

#[tokio::test]
async fn services_of_one_authority_know_each_other_and_nobody_else() {
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    let hash = open(authority.files(directory.path(), Role::Hash), Role::Hash).await;
    let gateway = open(authority.files(directory.path(), Role::Gateway), Role::Gateway).await;
    let worker = open(authority.files(directory.path(), Role::Worker), Role::Worker).await;
    let served = Served::start(Some(hash), ServerLimits::default()).await;
    call(&served.channel(Role::Hash, &gateway), HEALTH).await.unwrap();
    // Health needs no role.
    call(&served.channel(Role::Hash, &worker), HEALTH).await.unwrap();

    // Who answers is not the Queue, whatever its address.
    let status = call(&served.channel(Role::Queue, &gateway), HEALTH).await.unwrap_err();
    assert!(
        text(&status).contains("wanted a certificate of the queue, found spiffe://mesh/hashmesh/hash"),
        "{}",
        text(&status)
    );

    let elsewhere = tempfile::tempdir().unwrap();
    let others = Authority::new();
    let stranger = open(others.files(elsewhere.path(), Role::Gateway), Role::Gateway).await;
    let status = call(&served.channel(Role::Hash, &stranger), HEALTH).await.unwrap_err();
    assert!(text(&status).contains("UnknownIssuer"), "{}", text(&status));

    // Who believes us and is not believed; and who shows nothing.
    let files = others.files(elsewhere.path(), Role::Gateway);
    let (certificate, key) = others.issue(&[], Some(PATIENCE));
    write(&files, &certificate, &key, &authority.pem);
    let stranger = open(files, Role::Gateway).await;
    let status = call(&served.channel(Role::Hash, &stranger), HEALTH).await.unwrap_err();
    assert_ne!(reason(&status), Some(Reason::RoleNotAllowed), "{}", text(&status));
    let bare = rustls_client(&authority.pem);
    let mut stream = handshake(&served, bare).await.unwrap();
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
    let error = stream.read_to_end(&mut Vec::new()).await.unwrap_err();
    assert!(error.to_string().contains("CertificateRequired"), "{error}");
}

fn rustls_client(ca: &str) -> rustls::ClientConfig {
    use rustls::pki_types::pem::PemObject as _;
    let mut roots = rustls::RootCertStore::empty();
    roots.add(rustls::pki_types::CertificateDer::from_pem_slice(ca.as_bytes()).unwrap()).unwrap();
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    config
}

async fn handshake(
    served: &Served,
    config: rustls::ClientConfig,
) -> std::io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
    let stream = TcpStream::connect(served.address).await.unwrap();
    let name = rustls::pki_types::ServerName::try_from("localhost").unwrap();
    tokio_rustls::TlsConnector::from(std::sync::Arc::new(config)).connect(name, stream).await
}

#[tokio::test]
async fn a_method_that_stands_nowhere_in_the_table_is_refused_to_every_role() {
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    let hash = open(authority.files(directory.path(), Role::Hash), Role::Hash).await;
    let served = Served::start(Some(hash), ServerLimits::default()).await;
    let worker = open(authority.files(directory.path(), Role::Worker), Role::Worker).await;
    let status = call(&served.channel(Role::Hash, &worker), HASH).await.unwrap_err();
    assert_eq!((status.code(), reason(&status)), (Code::PermissionDenied, Some(Reason::RoleNotAllowed)));
    // It is not mounted here, and that is what who may call it is told.
    let gateway = open(authority.files(directory.path(), Role::Gateway), Role::Gateway).await;
    let status = call(&served.channel(Role::Hash, &gateway), HASH).await.unwrap_err();
    assert_eq!(status.code(), Code::Unimplemented);
}

#[tokio::test]
async fn a_gateway_asks_for_certificates_and_serves_who_has_none() {
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    let gateway = open(authority.files(directory.path(), Role::Gateway), Role::Gateway).await;
    let served = Served::start(Some(gateway), ServerLimits::default()).await;
    let stream = handshake(&served, rustls_client(&authority.pem)).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    // The name is checked by clients; a certificate without a service's name is as good.
    let mut files = authority.files(directory.path(), Role::Gateway);
    files.ca = None;
    let (certificate, key) = authority.issue(&[], Some(PATIENCE));
    std::fs::write(&files.certificate, certificate).unwrap();
    std::fs::write(&files.key, key).unwrap();
    let served = Served::start(Some(open(files, Role::Gateway).await), ServerLimits::default()).await;
    handshake(&served, rustls_client(&authority.pem)).await.unwrap();
}

#[tokio::test]
async fn plain_text_where_tls_is_spoken_is_answered_with_what_to_do() {
    let directory = tempfile::tempdir().unwrap();
    let hash = open(Authority::new().files(directory.path(), Role::Hash), Role::Hash).await;
    let served = Served::start(Some(hash), ServerLimits::default()).await;
    let plain = channel::lazy(&format!("http://{}", served.address)).unwrap();
    for _ in 0..2 {
        let status = call(&plain, HEALTH).await.unwrap_err();
        assert_eq!(reason(&status), Some(Reason::TlsRequired), "{status}");
        assert!(status.message().contains("https://"), "{status}");
    }
}

#[tokio::test]
async fn tls_where_plain_text_is_spoken_fails_with_a_hint() {
    let directory = tempfile::tempdir().unwrap();
    let gateway = open(Authority::new().files(directory.path(), Role::Gateway), Role::Gateway).await;
    let served = Served::start(None, ServerLimits::default()).await;
    let status = call(&served.channel(Role::Hash, &gateway), HEALTH).await.unwrap_err();
    assert!(text(&status).contains("does it speak TLS"), "{}", text(&status));
}

/// When the server ends a connection on which nothing but this was sent.
async fn cut_after(served: &Served, bytes: &[u8]) -> Duration {
    let mut stream = TcpStream::connect(served.address).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let began = Instant::now();
    // The end, or a reset.
    let _ = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut Vec::new())).await.expect("it is cut");
    began.elapsed()
}

#[tokio::test]
async fn a_slow_handshake_is_cut_within_its_time_and_not_before_while_others_are_served() {
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    let hash = open(authority.files(directory.path(), Role::Hash), Role::Hash).await;
    let gateway = open(authority.files(directory.path(), Role::Gateway), Role::Gateway).await;
    let limit = Duration::from_millis(300);
    let limits = ServerLimits { preface_timeout: limit, ..ServerLimits::default() };
    let served = Served::start(Some(hash), limits).await;
    // Nothing; the begin of a record; a record that promises more; plain text without an end.
    for bytes in [&b""[..], &[0x16], &[0x16, 3, 1, 2, 0, 1, 0], b"PRI * HT"] {
        let (cut, answered) = tokio::join!(cut_after(&served, bytes), async {
            call(&served.channel(Role::Hash, &gateway), HEALTH).await
        });
        answered.unwrap();
        assert!(cut >= limit - Duration::from_millis(50) && cut < PATIENCE / 2, "{bytes:?}: {cut:?}");
    }
    // Who is slow and yet in time is served.
    let patient = open(authority.files(directory.path(), Role::Hash), Role::Hash).await;
    let patient = Served::start(Some(patient), ServerLimits { preface_timeout: PATIENCE, ..ServerLimits::default() });
    let patient = patient.await;
    let stream = TcpStream::connect(patient.address).await.unwrap();
    tokio::time::sleep(limit).await;
    let connector = tokio_rustls::TlsConnector::from(gateway.client(Role::Hash).unwrap());
    let mut stream = connector.connect("localhost".try_into().unwrap(), stream).await.unwrap();
    tokio::time::sleep(limit).await;
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
    stream.read_exact(&mut [0; 9]).await.expect("the server's settings");
    // A handshake without a preface behind it has the same time, not twice as much.
    let shown = gateway.client(Role::Hash).unwrap();
    let began = Instant::now();
    let mut stream = handshake(&served, (*shown).clone()).await.unwrap();
    let _ = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut Vec::new())).await.expect("it is cut");
    assert!(began.elapsed() >= limit - Duration::from_millis(100), "{:?}", began.elapsed());
}

#[tokio::test]
async fn new_connections_see_new_certificates_and_open_ones_go_on() {
    let directory = tempfile::tempdir().unwrap();
    let (old, new) = (Authority::new(), Authority::new());
    let files = old.files(directory.path(), Role::Hash);
    let hash = open(files.clone(), Role::Hash).await;
    let served = Served::start(Some(hash), ServerLimits::default()).await;
    let gateway_files = old.files(directory.path(), Role::Gateway);
    let gateway = open(gateway_files.clone(), Role::Gateway).await;
    let opened = served.channel(Role::Hash, &gateway);
    call(&opened, HEALTH).await.unwrap();

    // Half of a change is none: the key is another's, then it is there.
    let (certificate, key) = new.service(Role::Hash);
    std::fs::write(&files.certificate, &certificate).unwrap();
    call(&served.channel(Role::Hash, &gateway), HEALTH).await.unwrap();
    write(&files, &certificate, &key, &new.pem);
    until(async || call(&served.channel(Role::Hash, &gateway), HEALTH).await.is_err()).await;
    call(&opened, HEALTH).await.unwrap();

    // The same channel objects connect with what is there now.
    let fresh = served.channel(Role::Hash, &gateway);
    call(&fresh, HEALTH).await.unwrap_err();
    let (certificate, key) = new.service(Role::Gateway);
    write(&gateway_files, &certificate, &key, &new.pem);
    until(async || call(&fresh, HEALTH).await.is_ok()).await;
    call(&opened, HEALTH).await.unwrap();
}

async fn until(mut fact: impl AsyncFnMut() -> bool) {
    let began = Instant::now();
    while !fact().await {
        assert!(began.elapsed() < PATIENCE);
        tokio::time::sleep(OFTEN).await;
    }
}

#[tokio::test]
async fn files_that_make_no_certificate_of_ours_are_refused_with_the_file_that_is_at_fault() {
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    let files = authority.files(directory.path(), Role::Queue);
    let (certificate, key) = authority.service(Role::Queue);
    let refused = async |certificate: &str, key: &str, ca: &str| {
        write(&files, certificate, key, ca);
        let error = Tls::open(files.clone(), Role::Queue).await.unwrap_err();
        assert!(!format!("{error} {error:?}").contains("SECRET"), "{error:?}");
        error
    };
    let ca = authority.pem.as_str();
    assert!(matches!(refused("nothing", &key, ca).await, TlsError::Missing { wanted: "a certificate", .. }));
    let not_a_key = "-----BEGIN PRIVATE KEY-----\nSECRET\n-----END PRIVATE KEY-----\n";
    assert!(matches!(refused(&certificate, not_a_key, ca).await, TlsError::Missing { .. } | TlsError::Key { .. }));
    assert!(matches!(refused(&certificate, "-----BEGIN SECRET", ca).await, TlsError::Missing { .. }));
    let (_, of_another) = authority.service(Role::Queue);
    assert!(matches!(refused(&certificate, &of_another, ca).await, TlsError::Key { .. }));
    assert!(matches!(refused(&certificate, &key, &Authority::new().pem).await, TlsError::NotAccepted { .. }));
    let name = |role: &str| format!("spiffe://mesh/hashmesh/{role}");
    let (expired, expired_key) = authority.issue(&[name("queue")], None);
    let error = refused(&expired, &expired_key, ca).await;
    assert!(
        matches!(&error, TlsError::NotAccepted { source, .. } if source.to_string().contains("expired")),
        "{error:?}"
    );
    for uris in [vec![], vec![name("worker")], vec![name("queue"), name("worker")]] {
        let (certificate, key) = authority.issue(&uris, Some(PATIENCE));
        let error = refused(&certificate, &key, ca).await;
        assert!(matches!(error, TlsError::Role { .. }) && error.to_string().contains("hashmesh/queue"), "{error}");
    }
    let without = TlsFiles { ca: None, ..files.clone() };
    write(&files, &certificate, &key, ca);
    assert!(matches!(Tls::open(without, Role::Queue).await, Err(TlsError::NoAuthority { role: Role::Queue })));
    let mut long = certificate.clone();
    long.push_str(&"#".repeat(1024 * 1024 - certificate.len()));
    write(&files, &long, &key, ca);
    Tls::open(files.clone(), Role::Queue).await.unwrap();
    long.push('#');
    assert!(matches!(refused(&long, &key, ca).await, TlsError::Size { limit: 1_048_576, .. }));
    write(&files, &certificate, &key, ca);
    std::fs::remove_file(&files.key).unwrap();
    let error = Tls::open(files.clone(), Role::Queue).await.unwrap_err();
    assert!(matches!(&error, TlsError::Read { path, .. } if *path == files.key), "{error}");
}

#[tokio::test]
async fn a_gateway_may_show_any_certificate_but_another_services() {
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    let files = authority.files(directory.path(), Role::Gateway);
    let (certificate, key) = authority.service(Role::Worker);
    write(&files, &certificate, &key, &authority.pem);
    assert!(matches!(Tls::open(files.clone(), Role::Gateway).await, Err(TlsError::Role { .. })));
    // Of a public authority, which is not the one whose clients are believed.
    let (certificate, key) = Authority::new().issue(&[], Some(PATIENCE));
    write(&files, &certificate, &key, &authority.pem);
    Tls::open(files, Role::Gateway).await.unwrap();
    assert_eq!(Identity::default().to_string(), "no certificate");
}
