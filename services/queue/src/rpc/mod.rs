//! The gRPC side: decodes, asks the engine or the store, encodes. Everything here works for one call or one stream and
//! knows no rule of the queue.

mod access;
mod controls;
mod convert;
mod lease;
mod resolve;
mod results;
mod retry;
mod shards;
mod submit;
mod unary;
mod uploads;
pub(crate) mod watch;
mod write;

use std::{pin::Pin, sync::Arc};

pub(crate) use access::AccessRpc;
use futures::Stream;
use hashmesh::queue::v1::{
    AppendBatchRequest, AppendBatchResponse, CancelSubmissionRequest, CancelSubmissionResponse,
    CreateSubmissionRequest, CreateSubmissionResponse, GetControlsRequest, GetControlsResponse, GetQueueStatsRequest,
    GetQueueStatsResponse, GetSubmissionRequest, GetSubmissionResponse, LeaseTasksRequest, LeaseTasksResponse,
    ListResultsRequest, ListResultsResponse, ListSubmissionsRequest, ListSubmissionsResponse, RetryTasksRequest,
    RetryTasksResponse, SealSubmissionRequest, SealSubmissionResponse, SetControlsRequest, SetControlsResponse,
    SetWorkerDrainingRequest, SetWorkerDrainingResponse, StreamResultsRequest, StreamResultsResponse,
    SubmitBatchRequest, SubmitBatchResponse, WatchShardsRequest, WatchShardsResponse, WatchSubmissionRequest,
    WatchSubmissionResponse, WriteSubmissionRequest, WriteSubmissionResponse, queue_service_server::QueueService,
};
use hashmesh_runtime::{shutdown::Shutdown, trace};
pub(crate) use resolve::final_state;
use tokio::sync::watch as watch_channel;
use tonic::{Request, Response, Status, Streaming};
pub(crate) use uploads::UploadRpc;
use uuid::Uuid;

use crate::{
    QueueConfig,
    engine::EngineHandle,
    maintenance::StorageStatus,
    measures::Measures,
    picture::Picture,
    store::{Keys, Reads},
};

type Frames<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// Frames that wait for a stream's reader: one on its way and the next. A frame of outcomes has up to 1 MiB, and readers
/// that do not read keep what waits for them (promise 8).
const OUTGOING: usize = 2;

/// Why a stream is about to end: the process stops.
const STOPS: &str = "the queue is stopping";
/// Another process owns the submission from now on.
const MOVES: &str = "another queue process takes the submission over";

/// What every call needs.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) config: QueueConfig,
    pub(crate) keys: Keys,
    /// The engine, while it can do its work.
    pub(crate) current: watch_channel::Receiver<Option<EngineHandle>>,
    /// This process among those that share the shards.
    pub(crate) process: Uuid,
    /// Who owns what.
    pub(crate) picture: watch_channel::Receiver<Arc<Picture>>,
    /// Where what is stored is read.
    pub(crate) reads: Reads,
    /// What maintenance found.
    pub(crate) storage: Arc<StorageStatus>,
    pub(crate) measures: Arc<Measures>,
    pub(crate) shutdown: Shutdown,
    pub(crate) watchers: watch::Watchers,
}

/// The service.
#[derive(Clone, Debug)]
pub(crate) struct QueueRpc {
    shared: Arc<Shared>,
}

impl QueueRpc {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }
}

#[tonic::async_trait]
impl QueueService for QueueRpc {
    type WriteSubmissionStream = Frames<WriteSubmissionResponse>;
    type WatchSubmissionStream = Frames<WatchSubmissionResponse>;
    type StreamResultsStream = Frames<StreamResultsResponse>;
    type WatchShardsStream = Frames<WatchShardsResponse>;
    type LeaseTasksStream = Frames<LeaseTasksResponse>;

    async fn write_submission(
        &self,
        request: Request<Streaming<WriteSubmissionRequest>>,
    ) -> Result<Response<Self::WriteSubmissionStream>, Status> {
        Ok(Response::new(write::serve(Arc::clone(&self.shared), request.into_inner(), trace::current())))
    }

    async fn create_submission(
        &self,
        request: Request<CreateSubmissionRequest>,
    ) -> Result<Response<CreateSubmissionResponse>, Status> {
        Ok(Response::new(self.shared.create_submission(request.into_inner()).await?))
    }

    async fn append_batch(
        &self,
        request: Request<AppendBatchRequest>,
    ) -> Result<Response<AppendBatchResponse>, Status> {
        Ok(Response::new(self.shared.append_batch(request.into_inner()).await?))
    }

    async fn seal_submission(
        &self,
        request: Request<SealSubmissionRequest>,
    ) -> Result<Response<SealSubmissionResponse>, Status> {
        Ok(Response::new(self.shared.seal_submission(request.into_inner()).await?))
    }

    async fn submit_batch(
        &self,
        request: Request<SubmitBatchRequest>,
    ) -> Result<Response<SubmitBatchResponse>, Status> {
        Ok(Response::new(self.shared.submit_batch(request.into_inner()).await?))
    }

    async fn get_submission(
        &self,
        request: Request<GetSubmissionRequest>,
    ) -> Result<Response<GetSubmissionResponse>, Status> {
        Ok(Response::new(self.shared.get_submission(request.into_inner()).await?))
    }

    async fn list_submissions(
        &self,
        request: Request<ListSubmissionsRequest>,
    ) -> Result<Response<ListSubmissionsResponse>, Status> {
        Ok(Response::new(self.shared.list_submissions(request.into_inner()).await?))
    }

    async fn watch_submission(
        &self,
        request: Request<WatchSubmissionRequest>,
    ) -> Result<Response<Self::WatchSubmissionStream>, Status> {
        Ok(Response::new(watch::serve(Arc::clone(&self.shared), request.into_inner()).await?))
    }

    async fn cancel_submission(
        &self,
        request: Request<CancelSubmissionRequest>,
    ) -> Result<Response<CancelSubmissionResponse>, Status> {
        Ok(Response::new(self.shared.cancel_submission(request.into_inner()).await?))
    }

    async fn list_results(
        &self,
        request: Request<ListResultsRequest>,
    ) -> Result<Response<ListResultsResponse>, Status> {
        Ok(Response::new(self.shared.list_results(request.into_inner()).await?))
    }

    async fn stream_results(
        &self,
        request: Request<StreamResultsRequest>,
    ) -> Result<Response<Self::StreamResultsStream>, Status> {
        Ok(Response::new(results::serve(Arc::clone(&self.shared), request.into_inner()).await?))
    }

    async fn retry_tasks(&self, request: Request<RetryTasksRequest>) -> Result<Response<RetryTasksResponse>, Status> {
        Ok(Response::new(self.shared.retry_tasks(request.into_inner()).await?))
    }

    async fn watch_shards(
        &self,
        _request: Request<WatchShardsRequest>,
    ) -> Result<Response<Self::WatchShardsStream>, Status> {
        Ok(Response::new(shards::serve(&self.shared)))
    }

    async fn lease_tasks(
        &self,
        request: Request<Streaming<LeaseTasksRequest>>,
    ) -> Result<Response<Self::LeaseTasksStream>, Status> {
        Ok(Response::new(lease::serve(&self.shared, request.into_inner()).await?))
    }

    async fn set_controls(
        &self,
        request: Request<SetControlsRequest>,
    ) -> Result<Response<SetControlsResponse>, Status> {
        Ok(Response::new(self.shared.set_controls(request.into_inner()).await?))
    }

    async fn get_controls(
        &self,
        request: Request<GetControlsRequest>,
    ) -> Result<Response<GetControlsResponse>, Status> {
        Ok(Response::new(self.shared.get_controls(request.into_inner()).await?))
    }

    async fn set_worker_draining(
        &self,
        request: Request<SetWorkerDrainingRequest>,
    ) -> Result<Response<SetWorkerDrainingResponse>, Status> {
        Ok(Response::new(self.shared.set_worker_draining(request.into_inner()).await?))
    }

    async fn get_queue_stats(
        &self,
        _request: Request<GetQueueStatsRequest>,
    ) -> Result<Response<GetQueueStatsResponse>, Status> {
        Ok(Response::new(self.shared.get_queue_stats().await?))
    }
}
