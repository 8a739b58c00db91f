//! The RPCs of `GatewayService`: each takes its place and its deadline, and delegates.

use std::{sync::Arc, time::Duration};

use hashmesh::{
    gateway::v1::{self as api, gateway_service_server::GatewayService},
    hash::v1::hash_service_client::HashServiceClient,
    queue::v1::{
        access_service_client::AccessServiceClient, queue_service_client::QueueServiceClient,
        schedule_service_client::ScheduleServiceClient, upload_service_client::UploadServiceClient,
    },
};
use hashmesh_runtime::{channel::Guarded, shutdown::Shutdown};
use prost::Message;
use tonic::{Request, Response, Status, Streaming};

use crate::{
    UploadConfig,
    admission::Admission,
    auth, cache,
    call::Call,
    controls,
    deadline::Deadline,
    digest,
    ending::Ending,
    error,
    outbound::Frames,
    results, schedules, stats, submit, submit_batch, unary, upload,
    upstream::{QueueUpstream, Upstream},
    watch,
};

/// What the services behind us may answer with: frames with 10,000 outcomes of long names exceed gRPC's usual 4 MiB.
const MAX_INNER_MESSAGE_BYTES: usize = 128 * 1024 * 1024;

/// What every call needs. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Gateway {
    pub(crate) queue: Arc<QueueUpstream>,
    pub(crate) hash: Arc<Upstream>,
    pub(crate) cache: Option<Arc<Upstream>>,
    pub(crate) admission: Admission,
    pub(crate) uploads: Option<UploadConfig>,
    pub(crate) stats: Arc<stats::StatsCache>,
    /// Digests that Hash has been asked for.
    pub(crate) digests: digest::Digests,
    pub(crate) shutdown: Shutdown,
    /// Of streams that could be elsewhere as well.
    pub(crate) max_stream_age: Option<Duration>,
}

/// A client of the Queue.
pub(crate) fn queue_client(channel: Guarded) -> QueueServiceClient<Guarded> {
    QueueServiceClient::new(channel).max_decoding_message_size(MAX_INNER_MESSAGE_BYTES)
}

/// A client of the Queue's keys.
pub(crate) fn access_client(channel: Guarded) -> AccessServiceClient<Guarded> {
    AccessServiceClient::new(channel)
}

/// A client of the Queue's uploads. A layout may have 10,000 runs.
pub(crate) fn upload_client(channel: Guarded) -> UploadServiceClient<Guarded> {
    UploadServiceClient::new(channel)
}

/// A client of the Queue's schedules.
pub(crate) fn schedule_client(channel: Guarded) -> ScheduleServiceClient<Guarded> {
    ScheduleServiceClient::new(channel).max_decoding_message_size(MAX_INNER_MESSAGE_BYTES)
}

/// A client of Hash.
pub(crate) fn hash_client(channel: Guarded) -> HashServiceClient<Guarded> {
    HashServiceClient::new(channel)
}

impl Gateway {
    /// Answers a unary call within its place and with its deadline.
    pub(crate) async fn answer<Q: Message, A: Message, F>(
        &self,
        request: Request<Q>,
        work: impl FnOnce(Q, Call) -> F,
    ) -> Result<Response<A>, Status>
    where
        F: Future<Output = Result<A, Status>>,
    {
        let call = Call::of(&request)?;
        let request = request.into_inner();
        let _place = self.admission.call(request.encoded_len())?;
        let answer = work(request, call).await?;
        let place = self.admission.answer(answer.encoded_len())?;
        let mut response = Response::new(answer);
        // Held until the answer was read, or its deadline has passed: the server keeps these as long as the body.
        response.extensions_mut().insert(Arc::new(place));
        Ok(response)
    }

    /// When a stream that begins now shall end.
    pub(crate) fn ending(&self) -> Ending {
        Ending::new(&self.shutdown, self.max_stream_age)
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
    type UploadObjectStream = Frames<api::UploadObjectResponse>;

    async fn submit_tasks(
        &self,
        request: Request<Streaming<api::SubmitTasksRequest>>,
    ) -> Result<Response<Self::SubmitTasksStream>, Status> {
        self.check_running()?;
        submit::submit(self, auth::caller(&request)?, request.into_inner()).map(Response::new)
    }

    async fn create_submission(
        &self,
        request: Request<api::CreateSubmissionRequest>,
    ) -> Result<Response<api::CreateSubmissionResponse>, Status> {
        self.answer(request, |request, call| unary::create_submission(self, request, call)).await
    }

    async fn append_batch(
        &self,
        request: Request<api::AppendBatchRequest>,
    ) -> Result<Response<api::AppendBatchResponse>, Status> {
        self.answer(request, |request, call| unary::append_batch(self, request, call)).await
    }

    async fn seal_submission(
        &self,
        request: Request<api::SealSubmissionRequest>,
    ) -> Result<Response<api::SealSubmissionResponse>, Status> {
        self.answer(request, |request, call| unary::seal_submission(self, request, call)).await
    }

    async fn submit_batch(
        &self,
        request: Request<api::SubmitBatchRequest>,
    ) -> Result<Response<api::SubmitBatchResponse>, Status> {
        let waiting = Deadline::within(&request, hashmesh::limits::MAX_WAIT);
        self.answer(request, |request, call| {
            let deadline = if request.wait { waiting } else { call.deadline };
            submit_batch::submit_batch(self, request, Call { deadline, ..call })
        })
        .await
    }

    async fn get_submission(
        &self,
        request: Request<api::GetSubmissionRequest>,
    ) -> Result<Response<api::GetSubmissionResponse>, Status> {
        self.answer(request, |request, call| unary::get_submission(self, request, call)).await
    }

    async fn list_submissions(
        &self,
        request: Request<api::ListSubmissionsRequest>,
    ) -> Result<Response<api::ListSubmissionsResponse>, Status> {
        self.answer(request, |request, call| unary::list_submissions(self, request, call)).await
    }

    async fn watch_submission(
        &self,
        request: Request<api::WatchSubmissionRequest>,
    ) -> Result<Response<Self::WatchSubmissionStream>, Status> {
        self.check_running()?;
        let Call { caller, deadline } = Call::of(&request)?;
        deadline.limit(watch::watch(self, caller, request.into_inner())).await.map(Response::new)
    }

    async fn cancel_submission(
        &self,
        request: Request<api::CancelSubmissionRequest>,
    ) -> Result<Response<api::CancelSubmissionResponse>, Status> {
        self.answer(request, |request, call| unary::cancel_submission(self, request, call)).await
    }

    async fn list_results(
        &self,
        request: Request<api::ListResultsRequest>,
    ) -> Result<Response<api::ListResultsResponse>, Status> {
        self.answer(request, |request, call| results::list(self, request, call)).await
    }

    async fn stream_results(
        &self,
        request: Request<api::StreamResultsRequest>,
    ) -> Result<Response<Self::StreamResultsStream>, Status> {
        self.check_running()?;
        let Call { caller, deadline } = Call::of(&request)?;
        deadline.limit(results::stream(self, caller, request.into_inner())).await.map(Response::new)
    }

    async fn retry_tasks(
        &self,
        request: Request<api::RetryTasksRequest>,
    ) -> Result<Response<api::RetryTasksResponse>, Status> {
        self.answer(request, |request, call| unary::retry_tasks(self, request, call)).await
    }

    async fn create_schedule(
        &self,
        request: Request<api::CreateScheduleRequest>,
    ) -> Result<Response<api::CreateScheduleResponse>, Status> {
        self.answer(request, |request, call| schedules::create(self, request, call)).await
    }

    async fn get_schedule(
        &self,
        request: Request<api::GetScheduleRequest>,
    ) -> Result<Response<api::GetScheduleResponse>, Status> {
        self.answer(request, |request, call| schedules::get(self, request, call)).await
    }

    async fn list_schedules(
        &self,
        request: Request<api::ListSchedulesRequest>,
    ) -> Result<Response<api::ListSchedulesResponse>, Status> {
        self.answer(request, |_, call| schedules::list(self, call)).await
    }

    async fn delete_schedule(
        &self,
        request: Request<api::DeleteScheduleRequest>,
    ) -> Result<Response<api::DeleteScheduleResponse>, Status> {
        self.answer(request, |request, call| schedules::delete(self, request, call)).await
    }

    async fn pause_work(
        &self,
        request: Request<api::PauseWorkRequest>,
    ) -> Result<Response<api::PauseWorkResponse>, Status> {
        self.answer(request, |request, call| controls::pause_work(self, request, call)).await
    }

    async fn resume_work(
        &self,
        request: Request<api::ResumeWorkRequest>,
    ) -> Result<Response<api::ResumeWorkResponse>, Status> {
        self.answer(request, |request, call| controls::resume_work(self, request, call)).await
    }

    async fn set_tenant_limits(
        &self,
        request: Request<api::SetTenantLimitsRequest>,
    ) -> Result<Response<api::SetTenantLimitsResponse>, Status> {
        self.answer(request, |request, call| controls::set_tenant_limits(self, request, call)).await
    }

    async fn get_controls(
        &self,
        request: Request<api::GetControlsRequest>,
    ) -> Result<Response<api::GetControlsResponse>, Status> {
        self.answer(request, |_, call| controls::get_controls(self, call)).await
    }

    async fn compute_digest(
        &self,
        request: Request<api::ComputeDigestRequest>,
    ) -> Result<Response<api::ComputeDigestResponse>, Status> {
        self.answer(request, |request, call| digest::compute(self, request, call)).await
    }

    async fn compute_digest_stream(
        &self,
        request: Request<Streaming<api::ComputeDigestStreamRequest>>,
    ) -> Result<Response<api::ComputeDigestStreamResponse>, Status> {
        self.check_running()?;
        let caller = auth::caller(&request)?;
        tokio::select! {
            answer = digest::compute_stream(self, request) => answer.map(Response::new),
            status = caller.turned_away() => Err(status),
        }
    }

    async fn upload_object(
        &self,
        request: Request<Streaming<api::UploadObjectRequest>>,
    ) -> Result<Response<Self::UploadObjectStream>, Status> {
        self.check_running()?;
        upload::upload(self, auth::caller(&request)?, request.into_inner()).map(Response::new)
    }

    async fn get_upload(
        &self,
        request: Request<api::GetUploadRequest>,
    ) -> Result<Response<api::GetUploadResponse>, Status> {
        self.answer(request, |request, call| upload::get(self, request, call)).await
    }

    async fn delete_upload(
        &self,
        request: Request<api::DeleteUploadRequest>,
    ) -> Result<Response<api::DeleteUploadResponse>, Status> {
        self.answer(request, |request, call| upload::delete(self, request, call)).await
    }

    async fn get_capabilities(
        &self,
        request: Request<api::GetCapabilitiesRequest>,
    ) -> Result<Response<api::GetCapabilitiesResponse>, Status> {
        self.answer(request, |_, call| stats::capabilities(self, call)).await
    }

    async fn invalidate_cache(
        &self,
        request: Request<api::InvalidateCacheRequest>,
    ) -> Result<Response<api::InvalidateCacheResponse>, Status> {
        self.answer(request, |request, call| cache::invalidate(self, request, call)).await
    }

    async fn warm_cache(
        &self,
        request: Request<api::WarmCacheRequest>,
    ) -> Result<Response<api::WarmCacheResponse>, Status> {
        self.answer(request, |request, call| cache::warm(self, request, call)).await
    }

    async fn get_stats(
        &self,
        request: Request<api::GetStatsRequest>,
    ) -> Result<Response<api::GetStatsResponse>, Status> {
        self.answer(request, |_, call| stats::stats(self, call)).await
    }
}
