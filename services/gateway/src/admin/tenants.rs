//! What holds for the work of any tenant.

use hashmesh::{admin::v1 as api, error::bad_field, queue::v1 as queue};
use tonic::Status;

use super::{audit, validate};
use crate::{call::Call, controls, service::Gateway};

pub(super) async fn set_controls(
    gateway: &Gateway,
    request: api::SetTenantControlsRequest,
    call: Call,
) -> Result<api::SetTenantControlsResponse, Status> {
    let api::SetTenantControlsRequest { tenant, paused, max_leased_tasks, tasks_per_day, bytes_per_day, sources } =
        request;
    let tenant = validate::tenant("tenant", tenant)?;
    if let Some(max) = max_leased_tasks {
        crate::validate::max_leased_tasks("max_leased_tasks", max)?;
    }
    validate::quota("tasks_per_day", tasks_per_day)?;
    validate::quota("bytes_per_day", bytes_per_day)?;
    let request = queue::SetControlsRequest {
        tenant,
        everyone: false,
        paused,
        max_leased_tasks,
        tasks_per_day,
        bytes_per_day,
        sources: validate::sources("sources.uri_prefixes", sources)?,
    };
    let detail = detail(&request);
    if detail.is_empty() {
        return Err(bad_field("paused", "nothing is to be changed: set `paused`, a limit or `sources`"));
    }
    audit::note(gateway, &call, "tenant.control", &request.tenant, &detail).await?;
    Ok(api::SetTenantControlsResponse { controls: controls::set(gateway, request, call.deadline).await? })
}

pub(super) async fn get_controls(
    gateway: &Gateway,
    request: api::GetTenantControlsRequest,
    call: Call,
) -> Result<api::GetTenantControlsResponse, Status> {
    let tenant = validate::tenant("tenant", request.tenant)?;
    Ok(api::GetTenantControlsResponse { controls: controls::get(gateway, tenant, call.deadline).await? })
}

/// For people who read the audit trail.
fn detail(change: &queue::SetControlsRequest) -> String {
    let paused = change.paused.map(|paused| if paused { "paused" } else { "resumed" }.to_owned());
    let leased = change.max_leased_tasks.map(|max| format!("at most {max} tasks leased"));
    let tasks = change.tasks_per_day.map(|limit| format!("{limit} tasks a day"));
    let bytes = change.bytes_per_day.map(|limit| format!("{limit} bytes a day"));
    let sources = change.sources.as_ref().map(|sources| match &sources.uri_prefixes[..] {
        [] => "may have nothing read".to_owned(),
        uris => format!("may have read {}", uris.join(" ")),
    });
    [paused, leased, tasks, bytes, sources].into_iter().flatten().collect::<Vec<_>>().join(", ")
}
