//! A Queue whose `LeaseTasks` and `WatchShards` do what a test says. It serves no other RPC.

use std::{pin::Pin, time::Duration};

use futures::{StreamExt as _, future};
use hashmesh::{
    error::{Reason, StatusBuilder},
    queue::v1::{
        AdoptedLease, AppendBatchRequest, AppendBatchResponse, CancelSubmissionRequest, CancelSubmissionResponse,
        Claimed, CreateSubmissionRequest, CreateSubmissionResponse, GetQueueStatsRequest, GetQueueStatsResponse,
        GetSubmissionRequest, GetSubmissionResponse, Heartbeat, HeldLease, Hello, LeaseProgress, LeaseTasksRequest,
        LeaseTasksResponse, ListResultsRequest, ListResultsResponse, ListSubmissionsRequest, ListSubmissionsResponse,
        OwnedShards, QueueProcess, RetryTasksRequest, RetryTasksResponse, SealSubmissionRequest,
        SealSubmissionResponse, ShardOwner, StreamResultsRequest, StreamResultsResponse, SubmitBatchRequest,
        SubmitBatchResponse, WatchShardsRequest, WatchShardsResponse, WatchSubmissionRequest, WatchSubmissionResponse,
        Welcome, WriteSubmissionRequest, WriteSubmissionResponse, lease_tasks_request, lease_tasks_response,
        queue_service_server::{QueueService, QueueServiceServer},
    },
};
use tokio::{
    net::TcpListener,
    sync::{mpsc, watch},
    time::timeout,
};
use tokio_stream::{
    Empty,
    wrappers::{ReceiverStream, TcpListenerStream, WatchStream},
};
use tonic::{Request, Response, Status, Streaming};

/// Far above what any step takes, far below a test run's patience.
const STEP_TIMEOUT: Duration = Duration::from_secs(30);

pub(super) struct ScriptedQueue {
    url: String,
    streams: mpsc::Receiver<Stream>,
    /// None: it is of a version that knows none.
    picture: watch::Sender<Option<WatchShardsResponse>>,
    _server: tokio_util::task::AbortOnDropHandle<()>,
}

impl ScriptedQueue {
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (sender, streams) = mpsc::channel(8);
        let (picture, pictures) = watch::channel(None);
        let server = tonic::transport::Server::builder()
            .add_service(QueueServiceServer::new(Scripted { streams: sender, pictures }))
            .serve_with_incoming(TcpListenerStream::new(listener));
        let server = tokio::spawn(async { server.await.unwrap() });
        Self { url, streams, picture, _server: tokio_util::task::AbortOnDropHandle::new(server) }
    }

    pub(super) fn url(&self) -> String {
        self.url.clone()
    }

    /// From now on it tells that these are the queues, and that somebody owns each shard.
    pub(super) fn tell(&self, urls: &[String]) {
        let process = |url: &String| QueueProcess { address: url.clone(), ..QueueProcess::default() };
        let shards = vec![ShardOwner { epoch: 1, process: 1 }; 64];
        self.picture.send_replace(Some(WatchShardsResponse { processes: urls.iter().map(process).collect(), shards }));
    }

    /// It tells no more, as if it were of the version before.
    pub(super) fn tell_no_more(&self) {
        self.picture.send_replace(None);
    }

    /// True if the worker has opened no stream that was not accepted.
    pub(super) fn alone(&mut self) -> bool {
        self.streams.try_recv().is_err()
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
        self.welcome_owning(None, adopted_leases).await;
    }

    /// By a queue that owns these shards; `None`: of a version that says nothing of them.
    pub(super) async fn welcome_owning(&self, owned_shards: Option<u64>, adopted_leases: Vec<AdoptedLease>) {
        let welcome = Welcome {
            adopted_leases,
            owned_shards,
            lease_duration: Duration::from_secs(5).try_into().ok(),
            heartbeat_interval: Duration::from_millis(50).try_into().ok(),
        };
        self.send(lease_tasks_response::Frame::Welcome(welcome)).await;
    }

    pub(super) async fn owned_shards(&self, shards: u64) {
        self.send(lease_tasks_response::Frame::OwnedShards(OwnedShards { shards })).await;
    }

    pub(super) async fn claimed(&self, owned_shards: u64, adopted_leases: Vec<AdoptedLease>) {
        self.send(lease_tasks_response::Frame::Claimed(Claimed { adopted_leases, owned_shards })).await;
    }

    /// What the worker claims. Credit may come before.
    pub(super) async fn claims(&mut self) -> Vec<HeldLease> {
        self.find(|frame| match frame {
            lease_tasks_request::Frame::Claims(claims) => Some(claims.held_leases.clone()),
            _ => None,
        })
        .await
    }

    pub(super) async fn refuse(self, reason: Reason) {
        self.outbound.send(Err(StatusBuilder::new(reason, "for the test").build())).await.unwrap();
    }

    /// The next frame that is `wanted`. Only heartbeats may come before it.
    pub(super) async fn expect<T>(&mut self, wanted: impl Fn(&lease_tasks_request::Frame) -> Option<T>) -> T {
        self.search(wanted, |frame| matches!(frame, lease_tasks_request::Frame::Heartbeat(_))).await
    }

    /// The same, while credit may come too: what other streams have no use for, for example.
    pub(super) async fn find<T>(&mut self, wanted: impl Fn(&lease_tasks_request::Frame) -> Option<T>) -> T {
        use lease_tasks_request::Frame::{Credit, Heartbeat};
        self.search(wanted, |frame| matches!(frame, Heartbeat(_) | Credit(_))).await
    }

    async fn search<T>(
        &mut self,
        wanted: impl Fn(&lease_tasks_request::Frame) -> Option<T>,
        may_come: impl Fn(&lease_tasks_request::Frame) -> bool,
    ) -> T {
        let search = async {
            loop {
                let frame = self.inbound.message().await.unwrap().expect("the stream to go on").frame.unwrap();
                match wanted(&frame) {
                    Some(found) => return found,
                    None => assert!(may_come(&frame), "unexpected frame {frame:?}"),
                }
            }
        };
        timeout(STEP_TIMEOUT, search).await.expect("a frame in time")
    }

    pub(super) async fn heartbeat(&mut self) -> Heartbeat {
        self.find(|frame| match frame {
            lease_tasks_request::Frame::Heartbeat(heartbeat) => Some(heartbeat.clone()),
            _ => None,
        })
        .await
    }

    /// How far a lease is, by the next heartbeat that names it.
    pub(super) async fn progress(&mut self, lease_id: u64) -> LeaseProgress {
        self.find(|frame| match frame {
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
    pictures: watch::Receiver<Option<WatchShardsResponse>>,
}

type Outbound<T> = Pin<Box<Empty<Result<T, Status>>>>;

fn unserved<T>() -> Result<Response<T>, Status> {
    Err(Status::unimplemented("not scripted"))
}

#[tonic::async_trait]
impl QueueService for Scripted {
    type LeaseTasksStream = ReceiverStream<Result<LeaseTasksResponse, Status>>;
    type WriteSubmissionStream = Outbound<WriteSubmissionResponse>;
    type WatchSubmissionStream = Outbound<WatchSubmissionResponse>;
    type StreamResultsStream = Outbound<StreamResultsResponse>;
    type WatchShardsStream = Pin<Box<dyn futures::Stream<Item = Result<WatchShardsResponse, Status>> + Send>>;

    async fn lease_tasks(
        &self,
        request: Request<Streaming<LeaseTasksRequest>>,
    ) -> Result<Response<Self::LeaseTasksStream>, Status> {
        let (outbound, frames) = mpsc::channel(8);
        let stream = Stream { inbound: request.into_inner(), outbound };
        self.streams.send(stream).await.map_err(|_| Status::unavailable("the test is over"))?;
        Ok(Response::new(ReceiverStream::new(frames)))
    }

    async fn watch_shards(&self, _: Request<WatchShardsRequest>) -> Result<Response<Self::WatchShardsStream>, Status> {
        if self.pictures.borrow().is_none() {
            return unserved();
        }
        let pictures = WatchStream::new(self.pictures.clone());
        let told = pictures.take_while(|picture| future::ready(picture.is_some()));
        Ok(Response::new(Box::pin(told.filter_map(|picture| future::ready(picture.map(Ok))))))
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
