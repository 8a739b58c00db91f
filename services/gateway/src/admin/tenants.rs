//! What holds for the work of any tenant.

use std::fmt::Write as _;

use hashmesh::{admin::v1 as api, error::bad_field, queue::v1 as queue};
use tonic::Status;

use super::{audit, validate};
use crate::{call::Call, controls, service::Gateway};

pub(super) async fn set_controls(
    gateway: &Gateway,
    request: api::SetTenantControlsRequest,
    call: Call,
) -> Result<api::SetTenantControlsResponse, Status> {
    let api::SetTenantControlsRequest { tenant, paused, max_leased_tasks } = request;
    let tenant = validate::tenant("tenant", tenant)?;
    if paused.is_none() && max_leased_tasks.is_none() {
        return Err(bad_field("paused", "nothing is to be changed: set `paused` or `max_leased_tasks`"));
    }
    if let Some(max) = max_leased_tasks {
        crate::validate::max_leased_tasks("max_leased_tasks", max)?;
    }
    audit::note(gateway, &call, "tenant.control", &tenant, &detail(paused, max_leased_tasks)).await?;
    let request = queue::SetControlsRequest { tenant, everyone: false, paused, max_leased_tasks };
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
fn detail(paused: Option<bool>, max_leased_tasks: Option<u32>) -> String {
    let mut text = match paused {
        Some(true) => "paused".to_owned(),
        Some(false) => "resumed".to_owned(),
        None => String::new(),
    };
    if let Some(max) = max_leased_tasks {
        let comma = if text.is_empty() { "" } else { ", " };
        // Writing to a string does not fail.
        let _ = write!(text, "{comma}at most {max} tasks leased");
    }
    text
}
