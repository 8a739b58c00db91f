//! A Queue whose `LeaseTasks` does what a test says. It serves no other RPC.

use std::{pin::Pin, time::Duration};

use hashmesh::{
    error::{Reason, StatusBuilder},
    queue::v1::{
        AdoptedLease, AppendBatchRequest, AppendBatchResponse, CancelSubmissionRequest, CancelSubmissionResponse,
        CreateSubmissionRequest, CreateSubmissionResponse, GetQueueStatsRequest, GetQueueStatsResponse,
        GetSubmissionRequest, GetSubmissionResponse, Heartbeat, Hello, LeaseProgress, LeaseTasksRequest,
        LeaseTasksResponse, ListResultsRequest, ListResultsResponse, ListSubmissionsRequest, ListSubmissionsResponse,
        RetryTasksRequest, RetryTasksResponse, SealSubmissionRequest, SealSubmissionResponse, StreamResultsRequest,
        StreamResultsResponse, SubmitBatchRequest, SubmitBatchResponse, WatchSubmissionRequest,
        WatchSubmissionResponse, Welcome, WriteSubmissionRequest, WriteSubmissionResponse, lease_tasks_request,
        lease_tasks_response,
        queue_service_server::{QueueService, QueueServiceServer},
    },
};
use tokio::{net::TcpListener, sync::mpsc, time::timeout};
use tokio_stream::{Empty, wrappers::ReceiverStream, wrappers::TcpListenerStream};
use tonic::{Request, Response, Status, Streaming};

/// Far above what any step takes, far below a test run's patience.
const STEP_TIMEOUT: Duration = Duration::from_secs(30);

pub(super) struct ScriptedQueue {
    url: String,
    streams: mpsc::Receiver<Stream>,
    _server: tokio_util::task::AbortOnDropHandle<()>,
}

impl ScriptedQueue {
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (sender, streams) = mpsc::channel(8);
        let server = tonic::transport::Server::builder()
            .add_service(QueueServiceServer::new(Scripted { streams: sender }))
            .serve_with_incoming(TcpListenerStream::new(listener));
        let server = tokio::spawn(async { server.await.unwrap() });
        Self { url, streams, _server: tokio_util::task::AbortOnDropHandle::new(server) }
    }

    pub(super) fn url(&self) -> String {
        self.url.clone()
    }

    /// The worker's next stream.
    pub(super) async fn accept(&mut self) -> Stream {
        timeout(STEP_TIMEOUT, self.streams.recv()).await.expect("a stream").unwrap()
    }
}

/// The queue's end of a stream. Dropping it ends the stream.
pub(super) struct Stream {
    inbound: Streaming<LeaseTasksRequest>,
    outbound: mpsc::Sender<Result<LeaseTasksResponse, Status>>,
}

impl Stream {
    pub(super) async fn send(&self, frame: lease_tasks_response::Frame) {
        self.outbound.send(Ok(LeaseTasksResponse { frame: Some(frame) })).await.unwrap();
    }

    pub(super) async fn hello(&mut self) -> Hello {
        let first = timeout(STEP_TIMEOUT, self.inbound.message()).await.expect("hello").unwrap().unwrap();
        let Some(lease_tasks_request::Frame::Hello(hello)) = first.frame else {
            panic!("wanted hello, found {first:?}")
        };
        hello
    }

    pub(super) async fn welcome(&self) {
        self.welcome_adopting(Vec::new()).await;
    }

    pub(super) async fn welcome_adopting(&self, adopted_leases: Vec<AdoptedLease>) {
        let welcome = Welcome {
            adopted_leases,
            lease_duration: Duration::from_secs(5).try_into().ok(),
            heartbeat_interval: Duration::from_millis(50).try_into().ok(),
        };
        self.send(lease_tasks_response::Frame::Welcome(welcome)).await;
    }

    pub(super) async fn refuse(self, reason: Reason) {
        self.outbound.send(Err(StatusBuilder::new(reason, "for the test").build())).await.unwrap();
    }

    /// The next frame that is `wanted`. Only heartbeats may come before it.
    pub(super) async fn expect<T>(&mut self, wanted: impl Fn(&lease_tasks_request::Frame) -> Option<T>) -> T {
        let search = async {
            loop {
                let frame = self.inbound.message().await.unwrap().expect("the stream to go on").frame.unwrap();
                let heartbeat = matches!(frame, lease_tasks_request::Frame::Heartbeat(_));
                match wanted(&frame) {
                    Some(found) => return found,
                    None => assert!(heartbeat, "unexpected frame {frame:?}"),
                }
            }
        };
        timeout(STEP_TIMEOUT, search).await.expect("a frame in time")
    }

    pub(super) async fn heartbeat(&mut self) -> Heartbeat {
        self.expect(|frame| match frame {
            lease_tasks_request::Frame::Heartbeat(heartbeat) => Some(heartbeat.clone()),
            _ => None,
        })
        .await
    }

    /// How far a lease is, by the next heartbeat that names it.
    pub(super) async fn progress(&mut self, lease_id: u64) -> LeaseProgress {
        self.expect(|frame| match frame {
            lease_tasks_request::Frame::Heartbeat(heartbeat) => {
                heartbeat.leases.iter().find(|progress| progress.lease_id == lease_id).copied()
            }
            _ => None,
        })
        .await
    }

    /// The worker ends its half; then the queue does.
    pub(super) async fn ended(mut self) {
        let end = async {
            while let Some(request) = self.inbound.message().await.unwrap() {
                let heartbeat = matches!(request.frame, Some(lease_tasks_request::Frame::Heartbeat(_)));
                assert!(heartbeat, "unexpected frame {request:?}");
            }
        };
        timeout(STEP_TIMEOUT, end).await.expect("the stream to end");
    }
}

struct Scripted {
    streams: mpsc::Sender<Stream>,
}

type Outbound<T> = Pin<Box<Empty<Result<T, Status>>>>;

fn unserved<T>() -> Result<Response<T>, Status> {
    Err(Status::unimplemented("only LeaseTasks is scripted"))
}

#[tonic::async_trait]
impl QueueService for Scripted {
    type LeaseTasksStream = ReceiverStream<Result<LeaseTasksResponse, Status>>;
    type WriteSubmissionStream = Outbound<WriteSubmissionResponse>;
    type WatchSubmissionStream = Outbound<WatchSubmissionResponse>;
    type StreamResultsStream = Outbound<StreamResultsResponse>;

    async fn lease_tasks(
        &self,
        request: Request<Streaming<LeaseTasksRequest>>,
    ) -> Result<Response<Self::LeaseTasksStream>, Status> {
        let (outbound, frames) = mpsc::channel(8);
        let stream = Stream { inbound: request.into_inner(), outbound };
        self.streams.send(stream).await.map_err(|_| Status::unavailable("the test is over"))?;
        Ok(Response::new(ReceiverStream::new(frames)))
    }

    async fn write_submission(
        &self,
        _: Request<Streaming<WriteSubmissionRequest>>,
    ) -> Result<Response<Self::WriteSubmissionStream>, Status> {
        unserved()
    }

    async fn create_submission(
        &self,
        _: Request<CreateSubmissionRequest>,
    ) -> Result<Response<CreateSubmissionResponse>, Status> {
        unserved()
    }

    async fn append_batch(&self, _: Request<AppendBatchRequest>) -> Result<Response<AppendBatchResponse>, Status> {
        unserved()
    }

    async fn seal_submission(
        &self,
        _: Request<SealSubmissionRequest>,
    ) -> Result<Response<SealSubmissionResponse>, Status> {
        unserved()
    }

    async fn submit_batch(&self, _: Request<SubmitBatchRequest>) -> Result<Response<SubmitBatchResponse>, Status> {
        unserved()
    }

    async fn get_submission(
        &self,
        _: Request<GetSubmissionRequest>,
    ) -> Result<Response<GetSubmissionResponse>, Status> {
        unserved()
    }

    async fn list_submissions(
        &self,
        _: Request<ListSubmissionsRequest>,
    ) -> Result<Response<ListSubmissionsResponse>, Status> {
        unserved()
    }

    async fn watch_submission(
        &self,
        _: Request<WatchSubmissionRequest>,
    ) -> Result<Response<Self::WatchSubmissionStream>, Status> {
        unserved()
    }

    async fn cancel_submission(
        &self,
        _: Request<CancelSubmissionRequest>,
    ) -> Result<Response<CancelSubmissionResponse>, Status> {
        unserved()
    }

    async fn list_results(&self, _: Request<ListResultsRequest>) -> Result<Response<ListResultsResponse>, Status> {
        unserved()
    }

    async fn stream_results(
        &self,
        _: Request<StreamResultsRequest>,
    ) -> Result<Response<Self::StreamResultsStream>, Status> {
        unserved()
    }

    async fn set_controls(
        &self,
        _: Request<hashmesh::queue::v1::SetControlsRequest>,
    ) -> Result<Response<hashmesh::queue::v1::SetControlsResponse>, Status> {
        unreachable!("not scripted")
    }

    async fn set_worker_draining(
        &self,
        _: Request<hashmesh::queue::v1::SetWorkerDrainingRequest>,
    ) -> Result<Response<hashmesh::queue::v1::SetWorkerDrainingResponse>, Status> {
        unreachable!("not scripted")
    }

    async fn get_controls(
        &self,
        _: Request<hashmesh::queue::v1::GetControlsRequest>,
    ) -> Result<Response<hashmesh::queue::v1::GetControlsResponse>, Status> {
        unreachable!("not scripted")
    }

    async fn retry_tasks(&self, _: Request<RetryTasksRequest>) -> Result<Response<RetryTasksResponse>, Status> {
        unserved()
    }

    async fn get_queue_stats(
        &self,
        _: Request<GetQueueStatsRequest>,
    ) -> Result<Response<GetQueueStatsResponse>, Status> {
        unserved()
    }
}
