//! A Gateway that does what a test says: each stream that a client opens meets the next script.

use std::{
    collections::VecDeque,
    pin::Pin,
    sync::{Arc, Mutex},
};

use futures::{Stream, future::BoxFuture};
use tokio::{net::TcpListener, sync::mpsc};
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::{Request, Response, Status, Streaming, metadata::MetadataMap, transport::Server};

use super::{Client, ClientConfig};
use crate::{
    error::{Reason, StatusBuilder, to_message},
    gateway::v1::{gateway_service_server::*, *},
    limits,
    v1::{Accepted, Draining, Limits, Opened, Ping, Rejected, Submission, SubmissionState},
};

type Frames<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;
type Script<T> = Box<dyn FnOnce(T) -> BoxFuture<'static, ()> + Send>;

/// The server's side of a `SubmitTasks` stream.
pub(super) struct Writing {
    pub(super) metadata: MetadataMap,
    pub(super) inbound: Streaming<SubmitTasksRequest>,
    out: mpsc::Sender<Result<SubmitTasksResponse, Status>>,
}

/// The server's side of a `StreamResults` stream.
pub(super) struct Reading {
    pub(super) metadata: MetadataMap,
    pub(super) request: StreamResultsRequest,
    pub(super) out: mpsc::Sender<Result<StreamResultsResponse, Status>>,
}

/// What the streams meet, and what was sealed.
#[derive(Clone, Default)]
pub(super) struct Scripts {
    writing: Arc<Mutex<VecDeque<Script<Writing>>>>,
    reading: Arc<Mutex<VecDeque<Script<Reading>>>>,
    pub(super) sealed: Arc<Mutex<Option<u32>>>,
}

impl Scripts {
    pub(super) fn writing<F: Future<Output = ()> + Send + 'static>(
        self,
        script: impl FnOnce(Writing) -> F + Send + 'static,
    ) -> Self {
        self.writing.lock().unwrap().push_back(Box::new(|stream| Box::pin(script(stream))));
        self
    }

    pub(super) fn reading<F: Future<Output = ()> + Send + 'static>(
        self,
        script: impl FnOnce(Reading) -> F + Send + 'static,
    ) -> Self {
        self.reading.lock().unwrap().push_back(Box::new(|stream| Box::pin(script(stream))));
        self
    }

    /// Serves them on a port of its own, and gives a client of it.
    pub(super) async fn client(&self) -> Client {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let config = ClientConfig::new(format!("http://{}", listener.local_addr().unwrap()));
        let service = GatewayServiceServer::new(self.clone());
        tokio::spawn(Server::builder().add_service(service).serve_with_incoming(TcpListenerStream::new(listener)));
        Client::connect(config).unwrap()
    }
}

impl Writing {
    pub(super) async fn open(&mut self) -> OpenSubmission {
        match self.frame().await {
            Some(submit_tasks_request::Frame::Open(open)) => open,
            other => panic!("expected `open`, got {other:?}"),
        }
    }

    /// Takes a batch and gives its sequence number and its first byte.
    pub(super) async fn batch(&mut self) -> (u32, u8) {
        match self.frame().await {
            Some(submit_tasks_request::Frame::Batch(Batch {
                sequence,
                tasks: Some(batch::Tasks::Columns(columns)),
                ..
            })) => (sequence, columns.data[0]),
            other => panic!("expected a batch, got {other:?}"),
        }
    }

    pub(super) async fn frame(&mut self) -> Option<submit_tasks_request::Frame> {
        self.inbound.message().await.ok().flatten().and_then(|request| request.frame)
    }

    pub(super) async fn opened(&self, next_sequence: u32) {
        self.opened_within(next_sequence, limits::announced()).await;
    }

    pub(super) async fn opened_within(&self, next_sequence: u32, limits: Limits) {
        self.send(submit_tasks_response::Frame::Opened(Opened {
            submission_id: "id".to_owned(),
            next_sequence,
            limits: Some(limits),
            state: SubmissionState::Open as i32,
            ..Opened::default()
        }))
        .await;
    }

    pub(super) async fn accept(&self, through_sequence: u32) {
        self.send(submit_tasks_response::Frame::Accepted(Accepted { through_sequence, window_bytes: 0 })).await;
    }

    pub(super) async fn reject(&self, sequence: u32, status: StatusBuilder) {
        let status = Some(to_message(&status.build()));
        self.send(submit_tasks_response::Frame::Rejected(Rejected { sequence, status })).await;
    }

    pub(super) async fn ping(&self, number: u64) {
        self.send(submit_tasks_response::Frame::Ping(Ping { number })).await;
    }

    pub(super) async fn drain(&self) {
        let reason = "a test".to_owned();
        self.send(submit_tasks_response::Frame::Draining(Draining { reason })).await;
    }

    pub(super) async fn fail(&self, status: StatusBuilder) {
        let _ = self.out.send(Err(status.build())).await;
    }

    async fn send(&self, frame: submit_tasks_response::Frame) {
        let _ = self.out.send(Ok(SubmitTasksResponse { frame: Some(frame) })).await;
    }
}

impl Reading {
    pub(super) async fn send(&self, frame: stream_results_response::Frame) {
        let _ = self.out.send(Ok(StreamResultsResponse { frame: Some(frame) })).await;
    }
}

fn no_more_scripts() -> Status {
    StatusBuilder::new(Reason::Internal, "the test has no more scripts").build()
}

fn unused<T>() -> Result<Response<T>, Status> {
    Err(Status::unimplemented("the test does not use it"))
}

#[tonic::async_trait]
impl GatewayService for Scripts {
    type SubmitTasksStream = Frames<SubmitTasksResponse>;
    type WatchSubmissionStream = Frames<WatchSubmissionResponse>;
    type StreamResultsStream = Frames<StreamResultsResponse>;
    type UploadObjectStream = Frames<UploadObjectResponse>;

    async fn submit_tasks(
        &self,
        request: Request<Streaming<SubmitTasksRequest>>,
    ) -> Result<Response<Self::SubmitTasksStream>, Status> {
        let script = self.writing.lock().unwrap().pop_front().ok_or_else(no_more_scripts)?;
        let (out, frames) = mpsc::channel(8);
        tokio::spawn(script(Writing { metadata: request.metadata().clone(), inbound: request.into_inner(), out }));
        Ok(Response::new(Box::pin(ReceiverStream::new(frames))))
    }

    async fn stream_results(
        &self,
        request: Request<StreamResultsRequest>,
    ) -> Result<Response<Self::StreamResultsStream>, Status> {
        let script = self.reading.lock().unwrap().pop_front().ok_or_else(no_more_scripts)?;
        let (out, frames) = mpsc::channel(8);
        tokio::spawn(script(Reading { metadata: request.metadata().clone(), request: request.into_inner(), out }));
        Ok(Response::new(Box::pin(ReceiverStream::new(frames))))
    }

    async fn seal_submission(
        &self,
        request: Request<SealSubmissionRequest>,
    ) -> Result<Response<SealSubmissionResponse>, Status> {
        *self.sealed.lock().unwrap() = Some(request.into_inner().batch_count);
        Ok(Response::new(SealSubmissionResponse { submission: Some(Submission::default()) }))
    }

    async fn create_submission(
        &self,
        _: Request<CreateSubmissionRequest>,
    ) -> Result<Response<CreateSubmissionResponse>, Status> {
        unused()
    }

    async fn append_batch(&self, _: Request<AppendBatchRequest>) -> Result<Response<AppendBatchResponse>, Status> {
        unused()
    }

    async fn submit_batch(&self, _: Request<SubmitBatchRequest>) -> Result<Response<SubmitBatchResponse>, Status> {
        unused()
    }

    async fn get_submission(
        &self,
        _: Request<GetSubmissionRequest>,
    ) -> Result<Response<GetSubmissionResponse>, Status> {
        unused()
    }

    async fn list_submissions(
        &self,
        _: Request<ListSubmissionsRequest>,
    ) -> Result<Response<ListSubmissionsResponse>, Status> {
        unused()
    }

    async fn watch_submission(
        &self,
        _: Request<WatchSubmissionRequest>,
    ) -> Result<Response<Self::WatchSubmissionStream>, Status> {
        unused()
    }

    async fn pause_work(&self, _: Request<PauseWorkRequest>) -> Result<Response<PauseWorkResponse>, Status> {
        unused()
    }

    async fn resume_work(&self, _: Request<ResumeWorkRequest>) -> Result<Response<ResumeWorkResponse>, Status> {
        unused()
    }

    async fn set_tenant_limits(
        &self,
        _: Request<SetTenantLimitsRequest>,
    ) -> Result<Response<SetTenantLimitsResponse>, Status> {
        unused()
    }

    async fn get_controls(&self, _: Request<GetControlsRequest>) -> Result<Response<GetControlsResponse>, Status> {
        unused()
    }

    async fn cancel_submission(
        &self,
        _: Request<CancelSubmissionRequest>,
    ) -> Result<Response<CancelSubmissionResponse>, Status> {
        unused()
    }

    async fn list_results(&self, _: Request<ListResultsRequest>) -> Result<Response<ListResultsResponse>, Status> {
        unused()
    }

    async fn create_schedule(
        &self,
        _: Request<CreateScheduleRequest>,
    ) -> Result<Response<CreateScheduleResponse>, Status> {
        unused()
    }

    async fn get_schedule(&self, _: Request<GetScheduleRequest>) -> Result<Response<GetScheduleResponse>, Status> {
        unused()
    }

    async fn list_schedules(
        &self,
        _: Request<ListSchedulesRequest>,
    ) -> Result<Response<ListSchedulesResponse>, Status> {
        unused()
    }

    async fn delete_schedule(
        &self,
        _: Request<DeleteScheduleRequest>,
    ) -> Result<Response<DeleteScheduleResponse>, Status> {
        unused()
    }

    async fn retry_tasks(&self, _: Request<RetryTasksRequest>) -> Result<Response<RetryTasksResponse>, Status> {
        unused()
    }

    async fn compute_digest(
        &self,
        _: Request<ComputeDigestRequest>,
    ) -> Result<Response<ComputeDigestResponse>, Status> {
        unused()
    }

    async fn compute_digest_stream(
        &self,
        _: Request<Streaming<ComputeDigestStreamRequest>>,
    ) -> Result<Response<ComputeDigestStreamResponse>, Status> {
        unused()
    }

    async fn get_capabilities(
        &self,
        _: Request<GetCapabilitiesRequest>,
    ) -> Result<Response<GetCapabilitiesResponse>, Status> {
        unused()
    }

    async fn upload_object(
        &self,
        _: Request<Streaming<UploadObjectRequest>>,
    ) -> Result<Response<Self::UploadObjectStream>, Status> {
        unused()
    }

    async fn get_upload(&self, _: Request<GetUploadRequest>) -> Result<Response<GetUploadResponse>, Status> {
        unused()
    }

    async fn delete_upload(&self, _: Request<DeleteUploadRequest>) -> Result<Response<DeleteUploadResponse>, Status> {
        unused()
    }

    async fn invalidate_cache(
        &self,
        _: Request<InvalidateCacheRequest>,
    ) -> Result<Response<InvalidateCacheResponse>, Status> {
        Err(Status::unimplemented("not in this script"))
    }

    async fn warm_cache(&self, _: Request<WarmCacheRequest>) -> Result<Response<WarmCacheResponse>, Status> {
        Err(Status::unimplemented("not in this script"))
    }

    async fn get_stats(&self, _: Request<GetStatsRequest>) -> Result<Response<GetStatsResponse>, Status> {
        unused()
    }
}
