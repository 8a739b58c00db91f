//! The unary calls, each of which waits out an outage.

use std::time::Duration;

use bytes::Bytes;
use futures::{Stream, StreamExt as _};
use tonic::{Code, Response, Status};

use super::{
    connection::{Client, KeyedChannel},
    error::ClientError,
};
use crate::{
    gateway::v1::{
        AppendBatchRequest, AppendBatchResponse, Batch, CancelSubmissionRequest, ComputeDigestRequest,
        ComputeDigestResponse, ComputeDigestStreamRequest, ComputeDigestStreamResponse, CreateScheduleRequest,
        CreateSubmissionRequest, DeleteScheduleRequest, DeleteUploadRequest, GetCapabilitiesRequest,
        GetCapabilitiesResponse, GetControlsRequest, GetScheduleRequest, GetStatsRequest, GetStatsResponse,
        GetSubmissionRequest, GetUploadRequest, InvalidateCacheRequest, InvalidateCacheResponse, ListResultsRequest,
        ListResultsResponse, ListSchedulesRequest, ListSubmissionsRequest, ListSubmissionsResponse, PauseWorkRequest,
        ResumeWorkRequest, RetryTasksRequest, SealSubmissionRequest, SetTenantLimitsRequest, SubmitBatchRequest,
        SubmitBatchResponse, WarmCacheRequest, WarmCacheResponse, gateway_service_client::GatewayServiceClient,
    },
    limits::MAX_WAIT,
    v1::{Algorithm, Opened, Schedule, Submission, SubmissionOptions, TenantControls, Upload},
};

/// Every call takes the message's fields, makes attempts until one is answered, and fails with [`ClientError::Refused`]
/// or, if an outage lasts too long, [`ClientError::Unreachable`].
impl Client {
    /// Creates an empty submission. Without a key one is minted, so that a repeated attempt finds what the first created.
    ///
    /// # Errors
    /// See [`Client`]'s calls.
    pub async fn create_submission(
        &self,
        options: SubmissionOptions,
        idempotency_key: Option<String>,
    ) -> Result<Opened, ClientError> {
        let idempotency_key = idempotency_key.unwrap_or_else(mint_key);
        let request = CreateSubmissionRequest { options: Some(options), idempotency_key };
        let answer = self.call(request, async |mut gateway, request| gateway.create_submission(request).await).await?;
        answer.opened.ok_or_else(|| missing("opened"))
    }

    /// Has a submission's expansion repeated.
    ///
    /// # Errors
    /// See [`Client`]'s calls.
    pub async fn create_schedule(&self, request: CreateScheduleRequest) -> Result<Schedule, ClientError> {
        let answer = self.call(request, async |mut gateway, request| gateway.create_schedule(request).await).await?;
        answer.schedule.ok_or_else(|| missing("schedule"))
    }

    /// A schedule.
    ///
    /// # Errors
    /// See [`Client`]'s calls.
    pub async fn get_schedule(&self, name: &str) -> Result<Schedule, ClientError> {
        let request = GetScheduleRequest { name: name.to_owned() };
        let answer = self.call(request, async |mut gateway, request| gateway.get_schedule(request).await).await?;
        answer.schedule.ok_or_else(|| missing("schedule"))
    }

    /// All schedules, by name.
    ///
    /// # Errors
    /// See [`Client`]'s calls.
    pub async fn list_schedules(&self) -> Result<Vec<Schedule>, ClientError> {
        let request = ListSchedulesRequest {};
        let answer = self.call(request, async |mut gateway, request| gateway.list_schedules(request).await).await?;
        Ok(answer.schedules)
    }

    /// Deletes a schedule; its runs stay.
    ///
    /// # Errors
    /// See [`Client`]'s calls.
    pub async fn delete_schedule(&self, name: &str) -> Result<(), ClientError> {
        let request = DeleteScheduleRequest { name: name.to_owned() };
        self.call(request, async |mut gateway, request| gateway.delete_schedule(request).await).await.map(drop)
    }

    /// Stores one batch.
    ///
    /// # Errors
    /// See [`Client`]'s calls.
    pub async fn append_batch(&self, submission_id: &str, batch: Batch) -> Result<AppendBatchResponse, ClientError> {
        let request = AppendBatchRequest { submission_id: submission_id.to_owned(), batch: Some(batch) };
        self.call(request, async |mut gateway, request| gateway.append_batch(request).await).await
    }

    /// Says that no more batches follow than the `batch_count` that are stored.
    ///
    /// # Errors
    /// See [`Client`]'s calls.
    pub async fn seal_submission(&self, submission_id: &str, batch_count: u32) -> Result<Submission, ClientError> {
        let request = SealSubmissionRequest { submission_id: submission_id.to_owned(), batch_count };
        let answer = self.call(request, async |mut gateway, request| gateway.seal_submission(request).await).await?;
        answer.submission.ok_or_else(|| missing("submission"))
    }

    /// Creates, appends and seals in one call; with `request.wait` the answer has the outcomes. Without a key one is
    /// minted, so that a repeated attempt finds what the first created.
    ///
    /// # Errors
    /// See [`Client`]'s calls.
    pub async fn submit_batch(&self, mut request: SubmitBatchRequest) -> Result<SubmitBatchResponse, ClientError> {
        if request.idempotency_key.is_empty() {
            request.idempotency_key = mint_key();
        }
        let wait = if request.wait { MAX_WAIT } else { Duration::ZERO };
        let timeout = self.config().attempt_timeout + wait;
        self.call_within(timeout, request, async |mut gateway, request| gateway.submit_batch(request).await).await
    }

    /// A submission's state and counters.
    ///
    /// # Errors
    /// See [`Client`]'s calls.
    pub async fn get_submission(&self, submission_id: &str) -> Result<Submission, ClientError> {
        let request = GetSubmissionRequest { submission_id: submission_id.to_owned() };
        let answer = self.call(request, async |mut gateway, request| gateway.get_submission(request).await).await?;
        answer.submission.ok_or_else(|| missing("submission"))
    }

    /// A page of submissions, newest first.
    ///
    /// # Errors
    /// See [`Client`]'s calls.
    pub async fn list_submissions(
        &self,
        request: ListSubmissionsRequest,
    ) -> Result<ListSubmissionsResponse, ClientError> {
        self.call(request, async |mut gateway, request| gateway.list_submissions(request).await).await
    }

    /// Cancels a submission: its unresolved tasks never get an outcome.
    ///
    /// # Errors
    /// See [`Client`]'s calls.
    pub async fn cancel_submission(&self, submission_id: &str) -> Result<Submission, ClientError> {
        let request = CancelSubmissionRequest { submission_id: submission_id.to_owned() };
        let answer = self.call(request, async |mut gateway, request| gateway.cancel_submission(request).await).await?;
        answer.submission.ok_or_else(|| missing("submission"))
    }

    /// Hands out no more of the tenant's tasks, or of everyone's, until [`Client::resume_work`].
    ///
    /// # Errors
    /// See [`Client`]'s calls.
    pub async fn pause_work(&self, everyone: bool) -> Result<TenantControls, ClientError> {
        let request = PauseWorkRequest { everyone };
        let answer = self.call(request, async |mut gateway, request| gateway.pause_work(request).await).await?;
        answer.controls.ok_or_else(|| missing("controls"))
    }

    /// Ends a pause.
    ///
    /// # Errors
    /// See [`Client`]'s calls.
    pub async fn resume_work(&self, everyone: bool) -> Result<TenantControls, ClientError> {
        let request = ResumeWorkRequest { everyone };
        let answer = self.call(request, async |mut gateway, request| gateway.resume_work(request).await).await?;
        answer.controls.ok_or_else(|| missing("controls"))
    }

    /// Limits how many of the tenant's tasks workers may hold at once; 0: any number.
    ///
    /// # Errors
    /// See [`Client`]'s calls.
    pub async fn set_tenant_limits(&self, max_leased_tasks: u32) -> Result<TenantControls, ClientError> {
        let request = SetTenantLimitsRequest { max_leased_tasks };
        let answer = self.call(request, async |mut gateway, request| gateway.set_tenant_limits(request).await).await?;
        answer.controls.ok_or_else(|| missing("controls"))
    }

    /// What holds for the tenant's work.
    ///
    /// # Errors
    /// See [`Client`]'s calls.
    pub async fn get_controls(&self) -> Result<TenantControls, ClientError> {
        let request = GetControlsRequest {};
        let answer = self.call(request, async |mut gateway, request| gateway.get_controls(request).await).await?;
        answer.controls.ok_or_else(|| missing("controls"))
    }

    /// A page of outcomes, by position. [`Client::results`] reads many.
    ///
    /// # Errors
    /// See [`Client`]'s calls.
    pub async fn list_results(&self, request: ListResultsRequest) -> Result<ListResultsResponse, ClientError> {
        self.call(request, async |mut gateway, request| gateway.list_results(request).await).await
    }

    /// Makes a new submission from the failed tasks of a completed one. Without a key one is minted, so that a repeated
    /// attempt finds what the first created.
    ///
    /// # Errors
    /// See [`Client`]'s calls.
    pub async fn retry_tasks(
        &self,
        submission_id: &str,
        idempotency_key: Option<String>,
    ) -> Result<Submission, ClientError> {
        let idempotency_key = idempotency_key.unwrap_or_else(mint_key);
        let request = RetryTasksRequest { submission_id: submission_id.to_owned(), idempotency_key };
        let answer = self.call(request, async |mut gateway, request| gateway.retry_tasks(request).await).await?;
        answer.submission.ok_or_else(|| missing("submission"))
    }

    /// Digests of one small input. Nothing is stored. `part_bytes`: the length of the parts of composite digests, 0 where none
    /// is asked for.
    ///
    /// # Errors
    /// See [`Client`]'s calls.
    pub async fn compute_digest(
        &self,
        data: Bytes,
        algorithms: &[Algorithm],
        part_bytes: u64,
    ) -> Result<ComputeDigestResponse, ClientError> {
        let request = ComputeDigestRequest { data, algorithms: numbers(algorithms), part_bytes };
        self.call(request, async |mut gateway, request| gateway.compute_digest(request).await).await
    }

    /// Digests of one input of any length, handed over in pieces of at most 4 MiB − 64 KiB. Nothing is stored, and nothing
    /// is kept: an outage is waited out before the first piece is taken, a later failure is final. `part_bytes`: as for
    /// [`Self::compute_digest`].
    ///
    /// # Errors
    /// See [`Client`]'s calls.
    pub async fn compute_digest_stream<S>(
        &self,
        algorithms: &[Algorithm],
        part_bytes: u64,
        pieces: S,
    ) -> Result<ComputeDigestStreamResponse, ClientError>
    where
        S: Stream<Item = Bytes> + Send + 'static,
    {
        self.get_capabilities().await?;
        let first = ComputeDigestStreamRequest { algorithms: numbers(algorithms), data: Bytes::new(), part_bytes };
        let rest = pieces.map(|data| ComputeDigestStreamRequest { data, ..ComputeDigestStreamRequest::default() });
        let frames = futures::stream::iter([first]).chain(rest);
        let answer = self.fresh_gateway().compute_digest_stream(frames).await.map_err(ClientError::Refused)?;
        Ok(answer.into_inner())
    }

    /// An upload: what is stored of it, and whether it is complete.
    ///
    /// # Errors
    /// See [`Client`]'s calls.
    pub async fn get_upload(&self, upload_id: &str) -> Result<Upload, ClientError> {
        let request = GetUploadRequest { upload_id: upload_id.to_owned() };
        let answer = self.call(request, async |mut gateway, request| gateway.get_upload(request).await).await?;
        answer.upload.ok_or_else(|| missing("upload"))
    }

    /// Deletes an upload. Of an attempt whose answer was lost, the next may say that there is none.
    ///
    /// # Errors
    /// See [`Client`]'s calls.
    pub async fn delete_upload(&self, upload_id: &str) -> Result<(), ClientError> {
        let request = DeleteUploadRequest { upload_id: upload_id.to_owned() };
        self.call(request, async |mut gateway, request| gateway.delete_upload(request).await).await.map(drop)
    }

    /// What the mesh can do.
    ///
    /// # Errors
    /// See [`Client`]'s calls.
    pub async fn get_capabilities(&self) -> Result<GetCapabilitiesResponse, ClientError> {
        let request = GetCapabilitiesRequest {};
        self.call(request, async |mut gateway, request| gateway.get_capabilities(request).await).await
    }

    /// What the mesh is doing now.
    ///
    /// # Errors
    /// See [`Client`]'s calls.
    pub async fn get_stats(&self) -> Result<GetStatsResponse, ClientError> {
        let request = GetStatsRequest {};
        self.call(request, async |mut gateway, request| gateway.get_stats(request).await).await
    }

    /// Has the cache forget an object of the tenant, or all whose URIs have the same beginning.
    ///
    /// # Errors
    /// See [`Client`]'s calls.
    pub async fn invalidate_cache(
        &self,
        request: InvalidateCacheRequest,
    ) -> Result<InvalidateCacheResponse, ClientError> {
        self.call(request, async |mut gateway, request| gateway.invalidate_cache(request).await).await
    }

    /// Brings what the tenant uses most into the cache's memory.
    ///
    /// # Errors
    /// See [`Client`]'s calls.
    pub async fn warm_cache(&self, request: WarmCacheRequest) -> Result<WarmCacheResponse, ClientError> {
        self.call(request, async |mut gateway, request| gateway.warm_cache(request).await).await
    }

    async fn call<Q, R, F>(&self, request: Q, attempt: F) -> Result<R, ClientError>
    where
        Q: Clone,
        F: AsyncFn(GatewayServiceClient<KeyedChannel>, Q) -> Result<Response<R>, Status>,
    {
        self.call_within(self.config().attempt_timeout, request, attempt).await
    }

    /// Makes attempts, each at most `timeout` long, until one is answered or the outage has lasted too long.
    async fn call_within<Q, R, F>(&self, timeout: Duration, request: Q, attempt: F) -> Result<R, ClientError>
    where
        Q: Clone,
        F: AsyncFn(GatewayServiceClient<KeyedChannel>, Q) -> Result<Response<R>, Status>,
    {
        let mut outage = self.outage();
        loop {
            let status = match tokio::time::timeout(timeout, attempt(self.gateway(), request.clone())).await {
                Ok(Ok(answer)) => return Ok(answer.into_inner()),
                Ok(Err(status)) => status,
                Err(_) => Status::new(Code::Unavailable, format!("no answer within {} s", timeout.as_secs())),
            };
            outage.wait(&self.config().server, status).await?;
        }
    }
}

/// A key that nobody else has, 128 random bits: it makes a creation that must be attempted twice happen once.
pub(super) fn mint_key() -> String {
    format!("minted-{:032x}", rand::random::<u128>())
}

fn numbers(algorithms: &[Algorithm]) -> Vec<i32> {
    algorithms.iter().map(|algorithm| *algorithm as i32).collect()
}

fn missing(field: &str) -> ClientError {
    ClientError::Protocol(format!("an answer lacks `{field}`"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::ClientConfig;

    fn assert_spawnable<T: Send + 'static>(_future: T) {}

    #[tokio::test]
    async fn calls_can_be_made_from_spawned_tasks() {
        let client = Client::connect(ClientConfig::default()).expect("an address");
        assert_spawnable(async move {
            let _ = client.get_stats().await;
            let _ = client.submit_batch(SubmitBatchRequest::default()).await;
            let _ = client.compute_digest_stream(&[], 0, futures::stream::iter([Bytes::new()])).await;
        });
    }

    #[tokio::test]
    async fn a_mesh_that_cannot_be_reached_is_waited_for_and_then_reported_as_unavailable() {
        // Port 1 is privileged and unused: the connection is refused at once.
        let config = ClientConfig { retry_for: Duration::from_millis(120), ..ClientConfig::new("http://127.0.0.1:1") };
        let client = Client::connect(config).expect("an address");
        let error = client.get_stats().await.expect_err("nobody listens");
        assert!(matches!(error, ClientError::Unreachable { .. }), "{error:?}");
        assert_eq!(error.code(), Code::Unavailable);
    }
}
