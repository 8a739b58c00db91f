//! Pause, resume and limits of a tenant's work, or everyone's.

use hashmesh::{
    gateway::v1 as api,
    queue::v1::{GetControlsRequest, SetControlsRequest},
    v1::TenantControls,
};
use tonic::Status;

use crate::{TENANT, deadline::Deadline, service::Gateway, unary::ask, upstream::Repeat, validate};

pub(crate) async fn pause_work(
    gateway: &Gateway,
    request: api::PauseWorkRequest,
    deadline: Deadline,
) -> Result<api::PauseWorkResponse, Status> {
    let controls = set_paused(gateway, request.everyone, true, deadline).await?;
    Ok(api::PauseWorkResponse { controls })
}

pub(crate) async fn resume_work(
    gateway: &Gateway,
    request: api::ResumeWorkRequest,
    deadline: Deadline,
) -> Result<api::ResumeWorkResponse, Status> {
    let controls = set_paused(gateway, request.everyone, false, deadline).await?;
    Ok(api::ResumeWorkResponse { controls })
}

pub(crate) async fn set_tenant_limits(
    gateway: &Gateway,
    request: api::SetTenantLimitsRequest,
    deadline: Deadline,
) -> Result<api::SetTenantLimitsResponse, Status> {
    let max_leased_tasks = validate::max_leased_tasks("max_leased_tasks", request.max_leased_tasks)?;
    let request = SetControlsRequest {
        tenant: TENANT.to_owned(),
        max_leased_tasks: Some(max_leased_tasks),
        ..SetControlsRequest::default()
    };
    Ok(api::SetTenantLimitsResponse { controls: set(gateway, request, deadline).await? })
}

pub(crate) async fn get_controls(gateway: &Gateway, deadline: Deadline) -> Result<api::GetControlsResponse, Status> {
    let request = GetControlsRequest { tenant: TENANT.to_owned() };
    let answer = ask!(gateway, Repeat::Safe, deadline, get_controls(request))?;
    Ok(api::GetControlsResponse { controls: answer.controls })
}

async fn set_paused(
    gateway: &Gateway,
    everyone: bool,
    paused: bool,
    deadline: Deadline,
) -> Result<Option<TenantControls>, Status> {
    let tenant = TENANT.to_owned();
    let request = SetControlsRequest { tenant, everyone, paused: Some(paused), max_leased_tasks: None };
    set(gateway, request, deadline).await
}

async fn set(
    gateway: &Gateway,
    request: SetControlsRequest,
    deadline: Deadline,
) -> Result<Option<TenantControls>, Status> {
    Ok(ask!(gateway, Repeat::Safe, deadline, set_controls(request))?.controls)
}
