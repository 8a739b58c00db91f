//! Pause, resume and limits of a tenant's work, or everyone's.

use hashmesh::{
    gateway::v1 as api,
    queue::v1::{GetControlsRequest, SetControlsRequest},
    v1::{Scope, TenantControls},
};
use hashmesh_runtime::metrics::catalogue::gateway::REFUSED_CALLERS;
use tonic::Status;

use crate::{admin::audit, call::Call, deadline::Deadline, service::Gateway, unary::ask, upstream::Repeat, validate};

pub(crate) async fn pause_work(
    gateway: &Gateway,
    request: api::PauseWorkRequest,
    call: Call,
) -> Result<api::PauseWorkResponse, Status> {
    let controls = set_paused(gateway, request.everyone, true, &call).await?;
    Ok(api::PauseWorkResponse { controls })
}

pub(crate) async fn resume_work(
    gateway: &Gateway,
    request: api::ResumeWorkRequest,
    call: Call,
) -> Result<api::ResumeWorkResponse, Status> {
    let controls = set_paused(gateway, request.everyone, false, &call).await?;
    Ok(api::ResumeWorkResponse { controls })
}

pub(crate) async fn set_tenant_limits(
    gateway: &Gateway,
    request: api::SetTenantLimitsRequest,
    call: Call,
) -> Result<api::SetTenantLimitsResponse, Status> {
    let max_leased_tasks = validate::max_leased_tasks("max_leased_tasks", request.max_leased_tasks)?;
    let request = SetControlsRequest {
        tenant: call.tenant(),
        max_leased_tasks: Some(max_leased_tasks),
        ..SetControlsRequest::default()
    };
    Ok(api::SetTenantLimitsResponse { controls: set(gateway, request, call.deadline).await? })
}

pub(crate) async fn get_controls(gateway: &Gateway, call: Call) -> Result<api::GetControlsResponse, Status> {
    Ok(api::GetControlsResponse { controls: get(gateway, call.tenant(), call.deadline).await? })
}

async fn set_paused(
    gateway: &Gateway,
    everyone: bool,
    paused: bool,
    call: &Call,
) -> Result<Option<TenantControls>, Status> {
    if everyone {
        call.caller.require(Scope::Admin).inspect_err(|_| REFUSED_CALLERS.add(1, &["permission_denied"]))?;
        let detail = if paused { "paused" } else { "resumed" };
        audit::note(gateway, call, "everyone.control", "everyone", detail).await?;
    }
    let request =
        SetControlsRequest { tenant: call.tenant(), everyone, paused: Some(paused), ..SetControlsRequest::default() };
    set(gateway, request, call.deadline).await
}

/// Changes what holds for a tenant's work, or everyone's.
pub(crate) async fn set(
    gateway: &Gateway,
    request: SetControlsRequest,
    deadline: Deadline,
) -> Result<Option<TenantControls>, Status> {
    Ok(ask!(gateway, Repeat::Safe, deadline, set_controls(request))?.controls)
}

/// What holds for a tenant's work.
pub(crate) async fn get(
    gateway: &Gateway,
    tenant: String,
    deadline: Deadline,
) -> Result<Option<TenantControls>, Status> {
    let request = GetControlsRequest { tenant };
    Ok(ask!(gateway, Repeat::Safe, deadline, get_controls(request))?.controls)
}
