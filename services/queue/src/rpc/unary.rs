//! The calls that answer once.

use hashmesh::{
    limits,
    queue::v1::{
        CancelSubmissionRequest, CancelSubmissionResponse, CreateSubmissionRequest, CreateSubmissionResponse,
        GetQueueStatsResponse, GetSubmissionRequest, GetSubmissionResponse, ListSubmissionsRequest,
        ListSubmissionsResponse, SealSubmissionRequest, SealSubmissionResponse,
    },
    v1::{DatabaseStats, EndReason, SubmissionState},
};

use super::{Shared, convert, resolve::Found};
use crate::{engine::Command, error::QueueError, store};

impl Shared {
    pub(super) async fn create_submission(
        &self,
        request: CreateSubmissionRequest,
    ) -> Result<CreateSubmissionResponse, QueueError> {
        let open = request.open.unwrap_or_default();
        let (found, _) = self.open(&open, None, None).await?;
        Ok(CreateSubmissionResponse { opened: Some(self.opened(&found).await?) })
    }

    pub(super) async fn seal_submission(
        &self,
        request: SealSubmissionRequest,
    ) -> Result<SealSubmissionResponse, QueueError> {
        let found = self.resolve(&request.tenant, &request.submission_id).await?;
        self.seal(&found, request.batch_count).await?;
        Ok(SealSubmissionResponse { submission: Some(self.submission(found.id()).await?) })
    }

    pub(super) async fn get_submission(
        &self,
        request: GetSubmissionRequest,
    ) -> Result<GetSubmissionResponse, QueueError> {
        let found = self.resolve(&request.tenant, &request.submission_id).await?;
        let submission = match found {
            Found::Live(handle) => self.submission(handle.id).await?,
            Found::Finished(_, submission) => *submission,
        };
        Ok(GetSubmissionResponse { submission: Some(submission) })
    }

    pub(super) async fn list_submissions(
        &self,
        request: ListSubmissionsRequest,
    ) -> Result<ListSubmissionsResponse, QueueError> {
        let id = |text: &str| if text.is_empty() { Ok(None) } else { convert::submission_id(text).map(Some) };
        let page = store::SubmissionsPage {
            tenant: &request.tenant,
            page_size: request.page_size.clamp(1, limits::MAX_SUBMISSIONS_PAGE),
            before: id(&request.before_submission_id)?,
            state: Some(request.state()).filter(|state| *state != SubmissionState::Unspecified),
            labels: &request.labels,
            retry_of: id(&request.retry_of)?,
        };
        let page = &page;
        let (submissions, more) =
            self.reads.read(|source| async move { store::submissions(&source, page).await }).await?;
        Ok(ListSubmissionsResponse { submissions, more })
    }

    pub(super) async fn cancel_submission(
        &self,
        request: CancelSubmissionRequest,
    ) -> Result<CancelSubmissionResponse, QueueError> {
        let found = self.resolve(&request.tenant, &request.submission_id).await?;
        match &found {
            Found::Live(handle) => self.engine_for(handle.id)?.cancel(handle.id, EndReason::Caller).await?,
            Found::Finished(_, submission) if submission.state() == SubmissionState::Cancelled => {}
            Found::Finished(..) => return Err(QueueError::Completed),
        }
        Ok(CancelSubmissionResponse { submission: Some(self.submission(found.id()).await?) })
    }

    pub(super) async fn get_queue_stats(&self) -> Result<GetQueueStatsResponse, QueueError> {
        let queue = self.engine()?.ask(|reply| Command::Stats { reply }).await?;
        let database = &self.config.database;
        let pool = database.pool_stats();
        let database = DatabaseStats {
            pool_connections: pool.connections,
            pool_idle: pool.idle,
            pool_max: pool.max,
            wal_bytes: store::wal_bytes(database).await?,
            server_version: database.server_version().to_owned(),
            primary_reads: self.reads.by_primary(),
            replicas: self.reads.stats(),
        };
        let storage = Some(self.storage.stats());
        Ok(GetQueueStatsResponse { queue: Some(queue), database: Some(database), storage })
    }
}
