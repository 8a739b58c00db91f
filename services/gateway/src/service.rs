//! The RPCs of `GatewayService`: each takes its place and its deadline, and delegates.

use std::sync::Arc;

use hashmesh::{
    gateway::v1::{self as api, gateway_service_server::GatewayService},
    hash::v1::hash_service_client::HashServiceClient,
    queue::v1::queue_service_client::QueueServiceClient,
};
use hashmesh_runtime::shutdown::Shutdown;
use prost::Message;
use tonic::{Request, Response, Status, Streaming, transport::Channel};

use crate::{
    admission::Admission, controls, deadline::Deadline, digest, error, outbound::Frames, results, stats, submit,
    submit_batch, unary, upstream::Upstream, watch,
};

/// What the services behind us may answer with: frames with 10,000 outcomes of long names exceed gRPC's usual 4 MiB.
const MAX_INNER_MESSAGE_BYTES: usize = 128 * 1024 * 1024;

/// What every call needs. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Gateway {
    pub(crate) queue: Arc<Upstream>,
    pub(crate) hash: Arc<Upstream>,
    pub(crate) admission: Admission,
    pub(crate) stats: Arc<stats::StatsCache>,
    pub(crate) shutdown: Shutdown,
}

/// A client of the Queue.
pub(crate) fn queue_client(channel: Channel) -> QueueServiceClient<Channel> {
    QueueServiceClient::new(channel).max_decoding_message_size(MAX_INNER_MESSAGE_BYTES)
}

/// A client of Hash.
pub(crate) fn hash_client(channel: Channel) -> HashServiceClient<Channel> {
    HashServiceClient::new(channel)
}

impl Gateway {
    /// Answers a unary call within its place and with its deadline.
    async fn answer<Q: Message, A, F>(
        &self,
        request: Request<Q>,
        work: impl FnOnce(Q, Deadline) -> F,
    ) -> Result<Response<A>, Status>
    where
        F: Future<Output = Result<A, Status>>,
    {
        let deadline = Deadline::of(request.metadata());
        let request = request.into_inner();
        let _place = self.admission.call(request.encoded_len())?;
        work(request, deadline).await.map(Response::new)
    }

    /// New streams go elsewhere once we stop.
    fn check_running(&self) -> Result<(), Status> {
        if self.shutdown.begun() { Err(error::draining()) } else { Ok(()) }
    }
}

#[tonic::async_trait]
impl GatewayService for Gateway {
    type SubmitTasksStream = Frames<api::SubmitTasksResponse>;
    type WatchSubmissionStream = Frames<api::WatchSubmissionResponse>;
    type StreamResultsStream = Frames<api::StreamResultsResponse>;

    async fn submit_tasks(
        &self,
        request: Request<Streaming<api::SubmitTasksRequest>>,
    ) -> Result<Response<Self::SubmitTasksStream>, Status> {
        self.check_running()?;
        submit::submit(self, request.into_inner()).map(Response::new)
    }

    async fn create_submission(
        &self,
        request: Request<api::CreateSubmissionRequest>,
    ) -> Result<Response<api::CreateSubmissionResponse>, Status> {
        self.answer(request, |request, deadline| unary::create_submission(self, request, deadline)).await
    }

    async fn append_batch(
        &self,
        request: Request<api::AppendBatchRequest>,
    ) -> Result<Response<api::AppendBatchResponse>, Status> {
        self.answer(request, |request, deadline| unary::append_batch(self, request, deadline)).await
    }

    async fn seal_submission(
        &self,
        request: Request<api::SealSubmissionRequest>,
    ) -> Result<Response<api::SealSubmissionResponse>, Status> {
        self.answer(request, |request, deadline| unary::seal_submission(self, request, deadline)).await
    }

    async fn submit_batch(
        &self,
        request: Request<api::SubmitBatchRequest>,
    ) -> Result<Response<api::SubmitBatchResponse>, Status> {
        let waiting = Deadline::within(request.metadata(), hashmesh::limits::MAX_WAIT);
        self.answer(request, |request, deadline| {
            let deadline = if request.wait { waiting } else { deadline };
            submit_batch::submit_batch(self, request, deadline)
        })
        .await
    }

    async fn get_submission(
        &self,
        request: Request<api::GetSubmissionRequest>,
    ) -> Result<Response<api::GetSubmissionResponse>, Status> {
        self.answer(request, |request, deadline| unary::get_submission(self, request, deadline)).await
    }

    async fn list_submissions(
        &self,
        request: Request<api::ListSubmissionsRequest>,
    ) -> Result<Response<api::ListSubmissionsResponse>, Status> {
        self.answer(request, |request, deadline| unary::list_submissions(self, request, deadline)).await
    }

    async fn watch_submission(
        &self,
        request: Request<api::WatchSubmissionRequest>,
    ) -> Result<Response<Self::WatchSubmissionStream>, Status> {
        self.check_running()?;
        let deadline = Deadline::of(request.metadata());
        deadline.limit(watch::watch(self, request.into_inner())).await.map(Response::new)
    }

    async fn cancel_submission(
        &self,
        request: Request<api::CancelSubmissionRequest>,
    ) -> Result<Response<api::CancelSubmissionResponse>, Status> {
        self.answer(request, |request, deadline| unary::cancel_submission(self, request, deadline)).await
    }

    async fn list_results(
        &self,
        request: Request<api::ListResultsRequest>,
    ) -> Result<Response<api::ListResultsResponse>, Status> {
        self.answer(request, |request, deadline| results::list(self, request, deadline)).await
    }

    async fn stream_results(
        &self,
        request: Request<api::StreamResultsRequest>,
    ) -> Result<Response<Self::StreamResultsStream>, Status> {
        self.check_running()?;
        let deadline = Deadline::of(request.metadata());
        deadline.limit(results::stream(self, request.into_inner())).await.map(Response::new)
    }

    async fn retry_tasks(
        &self,
        request: Request<api::RetryTasksRequest>,
    ) -> Result<Response<api::RetryTasksResponse>, Status> {
        self.answer(request, |request, deadline| unary::retry_tasks(self, request, deadline)).await
    }

    async fn pause_work(
        &self,
        request: Request<api::PauseWorkRequest>,
    ) -> Result<Response<api::PauseWorkResponse>, Status> {
        self.answer(request, |request, deadline| controls::pause_work(self, request, deadline)).await
    }

    async fn resume_work(
        &self,
        request: Request<api::ResumeWorkRequest>,
    ) -> Result<Response<api::ResumeWorkResponse>, Status> {
        self.answer(request, |request, deadline| controls::resume_work(self, request, deadline)).await
    }

    async fn set_tenant_limits(
        &self,
        request: Request<api::SetTenantLimitsRequest>,
    ) -> Result<Response<api::SetTenantLimitsResponse>, Status> {
        self.answer(request, |request, deadline| controls::set_tenant_limits(self, request, deadline)).await
    }

    async fn get_controls(
        &self,
        request: Request<api::GetControlsRequest>,
    ) -> Result<Response<api::GetControlsResponse>, Status> {
        self.answer(request, |_, deadline| controls::get_controls(self, deadline)).await
    }

    async fn compute_digest(
        &self,
        request: Request<api::ComputeDigestRequest>,
    ) -> Result<Response<api::ComputeDigestResponse>, Status> {
        self.answer(request, |request, deadline| digest::compute(self, request, deadline)).await
    }

    async fn compute_digest_stream(
        &self,
        request: Request<Streaming<api::ComputeDigestStreamRequest>>,
    ) -> Result<Response<api::ComputeDigestStreamResponse>, Status> {
        self.check_running()?;
        digest::compute_stream(self, request).await.map(Response::new)
    }

    async fn get_capabilities(
        &self,
        request: Request<api::GetCapabilitiesRequest>,
    ) -> Result<Response<api::GetCapabilitiesResponse>, Status> {
        self.answer(request, |_, deadline| stats::capabilities(self, deadline)).await
    }

    async fn get_stats(
        &self,
        request: Request<api::GetStatsRequest>,
    ) -> Result<Response<api::GetStatsResponse>, Status> {
        self.answer(request, |_, deadline| stats::stats(self, deadline)).await
    }
}
