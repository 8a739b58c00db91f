//! A Gateway in front of a scripted Queue, and a client of it.

use std::sync::{Arc, Mutex};

use hashmesh::{
    gateway::v1::{
        Batch, OpenSubmission, SubmitTasksRequest, SubmitTasksResponse, batch::Tasks,
        gateway_service_client::GatewayServiceClient, submit_tasks_request::Frame as In,
        submit_tasks_response::Frame as Out,
    },
    queue::v1::{
        ValidatedBatch, WriteSubmissionResponse, queue_service_server::QueueServiceServer,
        write_submission_request::Frame as QueueIn, write_submission_response::Frame as QueueOut,
    },
    v1::{Accepted, Opened, PackedTasks, Seal, SubmissionOptions},
};
use hashmesh_runtime::{channel, health::Health, server::GrpcServer, shutdown::Shutdown};
use tokio::{net::TcpListener, sync::mpsc, task::JoinHandle};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming, transport::Channel};

use super::fake_queue::{FakeQueue, Script, WriteStream};
use crate::{GatewayConfig, serve};

pub(super) const ID: &str = "01890a5d-ac96-774b-bcce-b302099a8057";

/// One Gateway and one scripted Queue.
pub(super) struct Mesh {
    pub(super) queue: Queue,
    pub(super) shutdown: Shutdown,
    pub(super) gateway: JoinHandle<()>,
    pub(super) health: Health,
    url: String,
}

/// A scripted Queue that listens.
pub(super) struct Queue {
    pub(super) url: String,
    pub(super) streams: mpsc::Receiver<WriteStream>,
    pub(super) script: Arc<Mutex<Script>>,
}

impl Queue {
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (sender, streams) = mpsc::channel(16);
        let script = Arc::default();
        let fake = FakeQueue { streams: sender, script: Arc::clone(&script) };
        let service = QueueServiceServer::new(fake).max_decoding_message_size(16 * 1024 * 1024);
        tokio::spawn(GrpcServer::new("fake", Health::new()).mount(service).serve(listener, Shutdown::new()));
        Self { url, streams, script }
    }

    /// The next stream, answered with `opened`.
    pub(super) async fn accept(&mut self) -> WriteStream {
        let mut stream = self.streams.recv().await.unwrap();
        assert!(matches!(stream.receive().await, Some(QueueIn::Open(_))));
        let options = SubmissionOptions { algorithms: vec![2], ..Default::default() };
        let opened = Opened { submission_id: ID.to_owned(), options: Some(options), ..Default::default() };
        stream.send(QueueOut::Opened(opened)).await;
        stream
    }
}

impl WriteStream {
    pub(super) async fn receive(&mut self) -> Option<QueueIn> {
        self.inbound.message().await.ok().flatten().and_then(|request| request.frame)
    }

    pub(super) async fn receive_batch(&mut self) -> ValidatedBatch {
        match self.receive().await {
            Some(QueueIn::Batch(batch)) => batch,
            other => panic!("wanted a batch, got {other:?}"),
        }
    }

    pub(super) async fn send(&self, frame: QueueOut) {
        self.outbound.send(Ok(WriteSubmissionResponse { frame: Some(frame) })).await.unwrap();
    }

    pub(super) async fn accept_through(&self, through_sequence: u32) {
        self.send(QueueOut::Accepted(Accepted { through_sequence, window_bytes: 0 })).await;
    }
}

impl Mesh {
    pub(super) async fn start() -> Self {
        let queue = Queue::start().await;
        let urls = vec![queue.url.clone()];
        Self::start_with(queue, urls).await
    }

    pub(super) async fn start_with(queue: Queue, urls: Vec<String>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (shutdown, health) = (Shutdown::new(), Health::new());
        let config = GatewayConfig { hash: urls.clone(), queue: urls, ..GatewayConfig::default() };
        let serving = serve(config, listener, health.clone(), shutdown.clone());
        let gateway = tokio::spawn(async move { serving.await.unwrap() });
        Self { queue, shutdown, gateway, health, url }
    }

    pub(super) fn client(&self) -> GatewayServiceClient<Channel> {
        GatewayServiceClient::new(channel::lazy(&self.url).unwrap())
    }

    /// A client's stream, opened, and the Queue's side of it.
    pub(super) async fn open(&mut self, open: OpenSubmission) -> (ClientStream, WriteStream) {
        let mut stream = self.stream().await;
        stream.send(In::Open(open)).await;
        let queue = self.queue.accept().await;
        assert!(matches!(stream.receive().await, Out::Opened(opened) if opened.limits.is_some()));
        (stream, queue)
    }

    /// A client's stream on which nothing was sent yet.
    pub(super) async fn stream(&self) -> ClientStream {
        let (outbound, frames) = mpsc::channel(1);
        let inbound = self.client().submit_tasks(ReceiverStream::new(frames)).await.unwrap().into_inner();
        ClientStream { outbound: Some(outbound), inbound }
    }
}

/// A client's stream.
pub(super) struct ClientStream {
    pub(super) outbound: Option<mpsc::Sender<SubmitTasksRequest>>,
    pub(super) inbound: Streaming<SubmitTasksResponse>,
}

impl ClientStream {
    pub(super) async fn send(&self, frame: In) {
        let request = SubmitTasksRequest { frame: Some(frame) };
        self.outbound.as_ref().unwrap().send(request).await.unwrap();
    }

    pub(super) async fn send_batch(&self, sequence: u32, data: &'static [u8]) {
        self.send(In::Batch(batch(sequence, data))).await;
    }

    pub(super) async fn seal(&self, batch_count: u32) {
        self.send(In::Seal(Seal { batch_count })).await;
    }

    pub(super) async fn receive(&mut self) -> Out {
        self.inbound.message().await.unwrap().unwrap().frame.unwrap()
    }

    pub(super) async fn receive_accepted(&mut self) -> u32 {
        match self.receive().await {
            Out::Accepted(accepted) => accepted.through_sequence,
            other => panic!("wanted `accepted`, got {other:?}"),
        }
    }

    pub(super) async fn receive_error(&mut self) -> Status {
        match self.inbound.message().await {
            Err(status) => status,
            Ok(other) => panic!("wanted an error, got {other:?}"),
        }
    }

    pub(super) async fn ended(&mut self) -> bool {
        matches!(self.inbound.message().await, Ok(None))
    }
}

/// A batch of one task.
pub(super) fn batch(sequence: u32, data: &'static [u8]) -> Batch {
    let columns = PackedTasks { data: data.into(), lengths: vec![data.len() as u32], ..Default::default() };
    Batch { sequence, tasks: Some(Tasks::Columns(columns)), ..Batch::default() }
}
