//! Pause, resume and limits of a tenant's work, or everyone's.

use hashmesh::{
    gateway::v1 as api,
    queue::v1::{GetControlsRequest, SetControlsRequest},
    v1::{Scope, TenantControls},
};
use hashmesh_runtime::metrics::catalogue::gateway::REFUSED_CALLERS;
use tonic::Status;

use crate::{
    admin::audit,
    call::Call,
    deadline::Deadline,
    service::{Gateway, queue_client},
    unary::ask,
    upstream::{Asked, Repeat, ask_each},
    validate,
};

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
    let tenant = request.tenant.clone();
    let controls = ask!(gateway, Repeat::Safe, deadline, set_controls(request))?.controls;
    Ok(joined(gateway, tenant, controls, deadline).await)
}

/// What holds for a tenant's work.
pub(crate) async fn get(
    gateway: &Gateway,
    tenant: String,
    deadline: Deadline,
) -> Result<Option<TenantControls>, Status> {
    let request = GetControlsRequest { tenant: tenant.clone() };
    let controls = ask!(gateway, Repeat::Safe, deadline, get_controls(request))?.controls;
    Ok(joined(gateway, tenant, controls, deadline).await)
}

/// What holds, by whoever writes it, with what the tenant has under way anywhere. Of who does not say it in time nothing is
/// known, and that is no reason not to say what holds.
async fn joined(
    gateway: &Gateway,
    tenant: String,
    controls: Option<TenantControls>,
    deadline: Deadline,
) -> Option<TenantControls> {
    let request = GetControlsRequest { tenant };
    let asked = ask_each!(gateway.queue, queue_client, deadline, get_controls(request)).unwrap_or_default();
    let answers = asked.into_iter().filter_map(Asked::ok).filter_map(|(_, answer)| answer.controls);
    Some(join(controls?, &answers.collect::<Vec<_>>()))
}

/// Each process has leases of its own, and knows of what the tenant has brought to all.
fn join(controls: TenantControls, answers: &[TenantControls]) -> TenantControls {
    let most = |of: fn(&TenantControls) -> u64| answers.iter().map(of).fold(of(&controls), u64::max);
    let leased = answers.iter().map(|answer| answer.leased_tasks).sum::<u64>();
    TenantControls {
        leased_tasks: if answers.is_empty() { controls.leased_tasks } else { leased },
        tasks_today: most(|answer| answer.tasks_today),
        bytes_today: most(|answer| answer.bytes_today),
        ..controls
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leases_add_up_and_of_what_was_brought_today_the_most_counts() {
        let answer = |leased_tasks, tasks_today, bytes_today| TenantControls {
            leased_tasks,
            tasks_today,
            bytes_today,
            ..Default::default()
        };
        let written = TenantControls { paused: true, tasks_per_day: 9, ..answer(1, 5, 50) };
        let joined = join(written.clone(), &[answer(1, 5, 50), answer(2, 4, 60), answer(4, 0, 0)]);
        assert_eq!(joined, TenantControls { paused: true, tasks_per_day: 9, ..answer(7, 5, 60) });
        assert_eq!(join(written.clone(), &[]), written);
    }
}
