//! The calls about submissions that are one question and one answer: validated, and passed on.

use hashmesh::{
    error::bad_field,
    gateway::v1 as api,
    limits::{DEFAULT_SUBMISSIONS_PAGE, MAX_SUBMISSIONS_PAGE, announced},
    queue::v1 as queue,
    v1::Opened,
};
use tonic::Status;

use crate::{batch::Unchecked, call::Call, metering, service::Gateway, spans, upstream::Repeat, validate};

/// Asks the Queue, where the request is to be answered.
macro_rules! ask {
    ($gateway:expr, $repeat:expr, $deadline:expr, $method:ident($request:expr)) => {{
        let message = $request;
        let route = $crate::upstream::Routed::route(&message);
        let queue = &$gateway.queue;
        $crate::upstream::ask_queue!(queue, $crate::service::queue_client, route, $repeat, $deadline, $method(message))
    }};
}
pub(crate) use ask;

/// With a key, creating again finds what was created.
pub(crate) fn repeat_by_key(idempotency_key: &str) -> Repeat {
    if idempotency_key.is_empty() { Repeat::Unsafe } else { Repeat::Safe }
}

/// What the Queue says of an opened submission, with the Gateway's limits.
pub(crate) fn opened(opened: Opened) -> Opened {
    Opened { limits: Some(announced()), ..opened }
}

pub(crate) async fn create_submission(
    gateway: &Gateway,
    request: api::CreateSubmissionRequest,
    call: Call,
) -> Result<api::CreateSubmissionResponse, Status> {
    let options = validate::options("options", request.options)?;
    call.reads().check_expansion(&options)?;
    let open = queue::OpenSubmission {
        tenant: call.tenant(),
        options: Some(options),
        idempotency_key: validate::idempotency_key("idempotency_key", request.idempotency_key)?,
        ..Default::default()
    };
    let repeat = repeat_by_key(&open.idempotency_key);
    let request = queue::CreateSubmissionRequest { open: Some(open) };
    let answer = ask!(gateway, repeat, call.deadline, create_submission(request))?;
    Ok(api::CreateSubmissionResponse { opened: answer.opened.map(opened) })
}

pub(crate) async fn append_batch(
    gateway: &Gateway,
    request: api::AppendBatchRequest,
    call: Call,
) -> Result<api::AppendBatchResponse, Status> {
    let submission_id = validate::submission_id("submission_id", &request.submission_id)?;
    let batch = request.batch.ok_or_else(|| bad_field("batch", "must be set"))?;
    let cause = spans::of_unary(&batch.traceparent);
    let validated = async { Unchecked::of_batch(batch, None)?.validate(&call.reads()).await };
    let mut batch = validated.await.inspect_err(|_| metering::refused())?;
    batch.traceparent = spans::text(cause);
    metering::passed(&batch);
    let request = queue::AppendBatchRequest { tenant: call.tenant(), submission_id, batch: Some(batch) };
    let answer = ask!(gateway, Repeat::Safe, call.deadline, append_batch(request))?;
    Ok(api::AppendBatchResponse { through_sequence: answer.through_sequence })
}

pub(crate) async fn seal_submission(
    gateway: &Gateway,
    request: api::SealSubmissionRequest,
    call: Call,
) -> Result<api::SealSubmissionResponse, Status> {
    let request = queue::SealSubmissionRequest {
        tenant: call.tenant(),
        submission_id: validate::submission_id("submission_id", &request.submission_id)?,
        batch_count: validate::batch_count("batch_count", request.batch_count)?,
    };
    let answer = ask!(gateway, Repeat::Safe, call.deadline, seal_submission(request))?;
    Ok(api::SealSubmissionResponse { submission: answer.submission })
}

pub(crate) async fn get_submission(
    gateway: &Gateway,
    request: api::GetSubmissionRequest,
    call: Call,
) -> Result<api::GetSubmissionResponse, Status> {
    let request = queue::GetSubmissionRequest {
        tenant: call.tenant(),
        submission_id: validate::submission_id("submission_id", &request.submission_id)?,
    };
    let answer = ask!(gateway, Repeat::Safe, call.deadline, get_submission(request))?;
    Ok(api::GetSubmissionResponse { submission: answer.submission })
}

pub(crate) async fn list_submissions(
    gateway: &Gateway,
    request: api::ListSubmissionsRequest,
    call: Call,
) -> Result<api::ListSubmissionsResponse, Status> {
    validate::labels("labels", &request.labels)?;
    let retry_of = match request.retry_of.as_str() {
        "" => String::new(),
        id => validate::submission_id("retry_of", id)?,
    };
    let page_size =
        validate::page_size("page_size", request.page_size, DEFAULT_SUBMISSIONS_PAGE, MAX_SUBMISSIONS_PAGE)?;
    let request = queue::ListSubmissionsRequest {
        tenant: call.tenant(),
        page_size,
        before_submission_id: validate::page_token("page_token", &request.page_token)?.unwrap_or_default(),
        state: validate::state("state", request.state)?,
        labels: request.labels,
        retry_of,
    };
    let page = ask!(gateway, Repeat::Safe, call.deadline, list_submissions(request))?;
    let last = page.submissions.last().filter(|_| page.more);
    let next_page_token = last.and_then(|last| validate::next_page_token(&last.submission_id)).unwrap_or_default();
    Ok(api::ListSubmissionsResponse { submissions: page.submissions, next_page_token })
}

pub(crate) async fn cancel_submission(
    gateway: &Gateway,
    request: api::CancelSubmissionRequest,
    call: Call,
) -> Result<api::CancelSubmissionResponse, Status> {
    let request = queue::CancelSubmissionRequest {
        tenant: call.tenant(),
        submission_id: validate::submission_id("submission_id", &request.submission_id)?,
    };
    let answer = ask!(gateway, Repeat::Safe, call.deadline, cancel_submission(request))?;
    Ok(api::CancelSubmissionResponse { submission: answer.submission })
}

pub(crate) async fn retry_tasks(
    gateway: &Gateway,
    request: api::RetryTasksRequest,
    call: Call,
) -> Result<api::RetryTasksResponse, Status> {
    let request = queue::RetryTasksRequest {
        tenant: call.tenant(),
        submission_id: validate::submission_id("submission_id", &request.submission_id)?,
        idempotency_key: validate::idempotency_key("idempotency_key", request.idempotency_key)?,
    };
    let repeat = repeat_by_key(&request.idempotency_key);
    let answer = ask!(gateway, repeat, call.deadline, retry_tasks(request))?;
    Ok(api::RetryTasksResponse { submission: answer.submission })
}
