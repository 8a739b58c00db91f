//! The server over real sockets, with a Hash service that does as its request says.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use hashmesh::{
    error::{Reason, reason},
    hash::v1::{
        ComputeDigestRequest, ComputeDigestResponse, ComputeDigestStreamRequest, ComputeDigestStreamResponse,
        hash_service_client::HashServiceClient,
        hash_service_server::{HashService, HashServiceServer},
    },
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::{Notify, Semaphore},
    task::JoinHandle,
};
use tonic::{Code, Request, Response, Status, Streaming, transport::Channel};
use tonic_reflection::pb;

use super::{
    GrpcServer, ServeError, ServerLimits,
    health_service::v1::{
        HealthCheckRequest, HealthListRequest, health_check_response::ServingStatus, health_client::HealthClient,
    },
};
use crate::{channel, health::Health, shutdown::Shutdown};

const SERVICE: &str = "hashmesh.hash.v1.HashService";
/// For what must happen: long, so that a busy machine fails no test.
const PATIENCE: Duration = Duration::from_secs(20);
/// For what is waited for on purpose.
const SHORT: Duration = Duration::from_millis(50);

/// Panics, waits or answers, as the data says.
#[derive(Clone, Debug)]
struct Scripted {
    started: Arc<Semaphore>,
    release: Arc<Notify>,
}

#[tonic::async_trait]
impl HashService for Scripted {
    async fn compute_digest(
        &self,
        request: Request<ComputeDigestRequest>,
    ) -> Result<Response<ComputeDigestResponse>, Status> {
        match &*request.into_inner().data {
            b"panic" => panic!("as the test asked"),
            b"wait" => {
                self.started.add_permits(1);
                self.release.notified().await;
            }
            _ => {}
        }
        Ok(Response::new(ComputeDigestResponse { digests: Vec::new(), hashed_bytes: 7 }))
    }

    async fn compute_digest_stream(
        &self,
        _: Request<Streaming<ComputeDigestStreamRequest>>,
    ) -> Result<Response<ComputeDigestStreamResponse>, Status> {
        Err(Status::internal("no test calls this"))
    }
}

struct Running {
    address: SocketAddr,
    health: Health,
    shutdown: Shutdown,
    script: Scripted,
    served: JoinHandle<Result<(), ServeError>>,
}

impl Running {
    async fn start(limits: ServerLimits) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (health, shutdown) = (Health::new(), Shutdown::new());
        let script = Scripted { started: Arc::new(Semaphore::new(0)), release: Arc::default() };
        let server =
            GrpcServer::new("test", health.clone()).limits(limits).mount(HashServiceServer::new(script.clone()));
        let served = tokio::spawn(server.serve(listener, shutdown.clone()));
        Self { address, health, shutdown, script, served }
    }

    fn channel(&self) -> Channel {
        channel::lazy(&format!("http://{}", self.address)).unwrap()
    }

    async fn call(&self, data: &'static [u8]) -> Result<u64, Status> {
        call(self.channel(), data).await
    }

    /// A call that is under way when this returns.
    async fn waiting_call(&self) -> JoinHandle<Result<u64, Status>> {
        let call = tokio::spawn(call(self.channel(), b"wait"));
        within(self.script.started.acquire()).await.unwrap().forget();
        call
    }

    /// Nothing may be left that the drain would wait for.
    async fn stop(self) {
        self.shutdown.begin();
        let drained = tokio::time::timeout(ServerLimits::default().shutdown_grace / 2, self.served).await;
        drained.expect("the drain should not need the grace").unwrap().unwrap();
    }
}

async fn call(channel: Channel, data: &'static [u8]) -> Result<u64, Status> {
    let request = ComputeDigestRequest { data: data.into(), algorithms: Vec::new(), ..Default::default() };
    Ok(HashServiceClient::new(channel).compute_digest(request).await?.into_inner().hashed_bytes)
}

async fn within<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(PATIENCE, future).await.expect("it should not take that long")
}

/// Reads until the server closes; a reset is a close too.
async fn read_to_close(stream: &mut TcpStream) {
    let _closed = within(stream.read_to_end(&mut Vec::new())).await;
}

#[tokio::test]
async fn garbage_closes_its_own_connection_only() {
    let server = Running::start(ServerLimits::default()).await;
    let channel = server.channel();
    call(channel.clone(), b"").await.unwrap();
    for garbage in [&b"GET / HTTP/1.1\r\n\r\n"[..], b"\x16\x03\x01\x02\x00", b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n"] {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        stream.write_all(garbage).await.unwrap();
        read_to_close(&mut stream).await;
    }
    // Garbage behind a good preface is h2's to refuse.
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff\xff\xff\xff\xff\xff\xff").await.unwrap();
    read_to_close(&mut stream).await;
    assert_eq!(call(channel, b"").await.unwrap(), 7);
    server.stop().await;
}

#[tokio::test]
async fn a_connection_that_stays_silent_is_closed_after_the_preface_timeout() {
    let server = Running::start(ServerLimits { preface_timeout: SHORT, ..ServerLimits::default() }).await;
    let mut silent = TcpStream::connect(server.address).await.unwrap();
    let mut halfway = TcpStream::connect(server.address).await.unwrap();
    halfway.write_all(b"PRI * HTTP").await.unwrap();
    read_to_close(&mut silent).await;
    read_to_close(&mut halfway).await;
    server.stop().await;
}

#[tokio::test]
async fn at_the_connection_limit_new_ones_wait_until_one_ends() {
    let server = Running::start(ServerLimits { max_connections: 1, ..ServerLimits::default() }).await;
    let first = server.channel();
    call(first.clone(), b"").await.unwrap();
    let second = tokio::spawn(call(server.channel(), b""));
    let early = tokio::time::timeout(SHORT, server.call(b"")).await;
    assert!(early.is_err(), "a second connection was served: {early:?}");
    drop(first);
    assert_eq!(within(second).await.unwrap().unwrap(), 7);
    server.stop().await;
}

#[tokio::test]
async fn peers_that_say_nothing_keep_nobody_out() {
    let forever = Duration::from_secs(1_000_000);
    let limits = ServerLimits { max_connections: 4, preface_timeout: forever, ..ServerLimits::default() };
    let server = Running::start(limits).await;
    let mut silent = Vec::new();
    for _ in 0..20 {
        silent.push(TcpStream::connect(server.address).await.unwrap());
    }
    let halfway = &mut silent[19];
    halfway.write_all(b"PRI * HTTP").await.unwrap();
    // Each on a connection of its own, which it keeps.
    let mut channels = Vec::new();
    for _ in 0..4 {
        let channel = server.channel();
        assert_eq!(within(call(channel.clone(), b"")).await.unwrap(), 7);
        channels.push(channel);
    }
    for mut silent in silent {
        read_to_close(&mut silent).await;
    }
    for channel in channels {
        assert_eq!(within(call(channel, b"")).await.unwrap(), 7);
    }
    server.stop().await;
}

#[tokio::test]
async fn a_planned_stop_finishes_the_call_that_runs_and_takes_no_other() {
    let server = Running::start(ServerLimits::default()).await;
    let running = server.waiting_call().await;
    let mut silent = TcpStream::connect(server.address).await.unwrap();
    server.shutdown.begin();
    // Only once nothing listens any more is it sure that the drain has begun.
    within(async { while TcpStream::connect(server.address).await.is_ok() {} }).await;
    read_to_close(&mut silent).await;
    assert_eq!(server.health.state(), Err("draining".to_owned()));
    assert!(!server.served.is_finished());
    server.script.release.notify_one();
    assert_eq!(within(running).await.unwrap().unwrap(), 7);
    server.stop().await;
}

#[tokio::test]
async fn a_call_that_never_ends_is_ended_after_the_grace() {
    let server = Running::start(ServerLimits { shutdown_grace: SHORT, ..ServerLimits::default() }).await;
    let running = server.waiting_call().await;
    server.stop().await;
    within(running).await.unwrap().unwrap_err();
}

#[tokio::test]
async fn a_server_that_is_dropped_closes_its_connections() {
    let server = Running::start(ServerLimits::default()).await;
    let running = server.waiting_call().await;
    server.served.abort();
    within(running).await.unwrap().unwrap_err();
}

#[tokio::test]
async fn a_panic_fails_its_call_with_internal_and_nothing_else() {
    let server = Running::start(ServerLimits::default()).await;
    let channel = server.channel();
    let status = call(channel.clone(), b"panic").await.unwrap_err();
    assert_eq!(status.code(), Code::Internal);
    assert_eq!(reason(&status), Some(Reason::Internal));
    assert!(!status.message().contains("as the test asked"));
    assert_eq!(call(channel, b"").await.unwrap(), 7);
    server.stop().await;
}

#[tokio::test]
async fn headers_beyond_the_limit_fail_their_call_only() {
    let server = Running::start(ServerLimits::default()).await;
    let channel = server.channel();
    let mut request = Request::new(ComputeDigestRequest::default());
    request.metadata_mut().insert("x-large", "a".repeat(20 * 1024).parse().unwrap());
    HashServiceClient::new(channel.clone()).compute_digest(request).await.unwrap_err();
    assert_eq!(call(channel, b"").await.unwrap(), 7);
    server.stop().await;
}

#[tokio::test]
async fn unknown_methods_are_unimplemented() {
    let server = Running::start(ServerLimits::default()).await;
    let status = hashmesh::queue::v1::queue_service_client::QueueServiceClient::new(server.channel())
        .get_submission(hashmesh::queue::v1::GetSubmissionRequest::default())
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::Unimplemented);
    server.stop().await;
}

#[tokio::test]
async fn health_answers_check_and_list_for_what_is_mounted() {
    let server = Running::start(ServerLimits::default()).await;
    let mut client = HealthClient::new(server.channel());
    for (serving, expected) in [(false, ServingStatus::NotServing), (true, ServingStatus::Serving)] {
        if serving {
            server.health.serving();
        }
        for service in ["", SERVICE] {
            let request = HealthCheckRequest { service: service.to_owned() };
            assert_eq!(client.check(request).await.unwrap().into_inner().status(), expected);
        }
        let statuses = client.list(HealthListRequest {}).await.unwrap().into_inner().statuses;
        assert_eq!(statuses.keys().collect::<Vec<_>>(), ["", SERVICE]);
        assert!(statuses.values().all(|answer| answer.status() == expected));
    }
    let unknown = HealthCheckRequest { service: "hashmesh.queue.v1.QueueService".to_owned() };
    assert_eq!(client.check(unknown).await.unwrap_err().code(), Code::NotFound);
    server.stop().await;
}

#[tokio::test]
async fn a_health_watch_sees_each_change_and_ends_with_the_server() {
    let server = Running::start(ServerLimits::default()).await;
    let mut client = HealthClient::new(server.channel());
    let request = HealthCheckRequest { service: SERVICE.to_owned() };
    let mut watch = client.watch(request).await.unwrap().into_inner();
    let unknown = HealthCheckRequest { service: "unknown".to_owned() };
    let mut watch_unknown = client.watch(unknown).await.unwrap().into_inner();

    assert_eq!(within(watch.message()).await.unwrap().unwrap().status(), ServingStatus::NotServing);
    server.health.serving();
    assert_eq!(within(watch.message()).await.unwrap().unwrap().status(), ServingStatus::Serving);
    assert_eq!(within(watch_unknown.message()).await.unwrap().unwrap().status(), ServingStatus::ServiceUnknown);
    server.shutdown.begin();
    assert_eq!(within(watch.message()).await.unwrap().unwrap().status(), ServingStatus::NotServing);
    for watch in &mut [watch, watch_unknown] {
        let end = within(watch.message()).await.unwrap_err();
        assert_eq!(reason(&end), Some(Reason::Draining));
    }
    server.stop().await;
}

/// Both versions have the same messages in different packages.
macro_rules! reflection_test {
    ($name:ident, $version:ident) => {
        #[tokio::test]
        async fn $name() {
            use pb::$version::{
                ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
                server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
            };
            let server = Running::start(ServerLimits::default()).await;
            let ask = |message| ServerReflectionRequest { host: String::new(), message_request: Some(message) };
            let mut questions = vec![ask(MessageRequest::ListServices(String::new()))];
            let expected = [
                "grpc.health.v1.Health",
                "grpc.reflection.v1.ServerReflection",
                "grpc.reflection.v1alpha.ServerReflection",
                SERVICE,
            ];
            let symbols = expected.map(|name| ask(MessageRequest::FileContainingSymbol(name.to_owned())));
            questions.extend(symbols);
            // Stays open after the last question, as tools do.
            let questions = futures::StreamExt::chain(futures::stream::iter(questions), futures::stream::pending());
            let mut client = ServerReflectionClient::new(server.channel());
            let mut answers = client.server_reflection_info(questions).await.unwrap().into_inner();

            let list = within(answers.message()).await.unwrap().unwrap().message_response;
            let Some(MessageResponse::ListServicesResponse(list)) = list else { panic!("{list:?}") };
            let mut names: Vec<_> = list.service.into_iter().map(|service| service.name).collect();
            names.sort();
            assert_eq!(names, expected);
            for name in expected {
                let file = within(answers.message()).await.unwrap().unwrap().message_response;
                assert!(matches!(file, Some(MessageResponse::FileDescriptorResponse(_))), "{name}: {file:?}");
            }
            server.shutdown.begin();
            // Ends although the client would go on: the drain does not wait for it.
            assert!(within(answers.message()).await.unwrap().is_none());
            server.stop().await;
        }
    };
}

reflection_test!(reflection_v1_lists_and_describes_what_is_mounted, v1);
reflection_test!(reflection_v1alpha_lists_and_describes_what_is_mounted, v1alpha);

#[tokio::test]
async fn a_service_that_reflection_cannot_describe_is_refused_at_the_start() {
    #[derive(Clone)]
    struct Foreign(HashServiceServer<Scripted>);
    impl tonic::server::NamedService for Foreign {
        const NAME: &'static str = "foreign.Service";
    }
    impl tower::Service<http::Request<tonic::body::Body>> for Foreign {
        type Response = http::Response<tonic::body::Body>;
        type Error = std::convert::Infallible;
        type Future = <HashServiceServer<Scripted> as tower::Service<http::Request<tonic::body::Body>>>::Future;
        fn poll_ready(
            &mut self,
            cx: &mut std::task::Context<'_>,
        ) -> std::task::Poll<Result<(), std::convert::Infallible>> {
            tower::Service::<http::Request<tonic::body::Body>>::poll_ready(&mut self.0, cx)
        }
        fn call(&mut self, request: http::Request<tonic::body::Body>) -> Self::Future {
            self.0.call(request)
        }
    }
    let script = Scripted { started: Arc::new(Semaphore::new(0)), release: Arc::default() };
    let server = GrpcServer::new("test", Health::new()).mount(Foreign(HashServiceServer::new(script)));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let error = server.serve(listener, Shutdown::new()).await.unwrap_err();
    assert!(matches!(error, ServeError::NotDescribed { service } if service == "foreign.Service"));
}
