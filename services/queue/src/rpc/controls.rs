//! Pause, resume, limits.

use hashmesh::{
    limits::MAX_LEASED_TASKS,
    queue::v1::{GetControlsRequest, GetControlsResponse, SetControlsRequest, SetControlsResponse},
    v1::TenantControls,
};

use super::Shared;
use crate::{engine::Command, error::QueueError, store::model::ControlsChange};

impl Shared {
    pub(super) async fn set_controls(&self, request: SetControlsRequest) -> Result<SetControlsResponse, QueueError> {
        let SetControlsRequest { tenant, everyone, paused, max_leased_tasks } = request;
        let invalid = |field, description: &str| QueueError::Invalid { field, description: description.to_owned() };
        if tenant.is_empty() {
            // An empty name stands for everyone in the tables.
            return Err(invalid("tenant", "must not be empty"));
        }
        if everyone && max_leased_tasks.is_some() {
            return Err(invalid("max_leased_tasks", "is for one tenant and not for everyone"));
        }
        if max_leased_tasks.is_some_and(|max| max > MAX_LEASED_TASKS) {
            return Err(invalid("max_leased_tasks", &format!("must be 0 to {MAX_LEASED_TASKS}")));
        }
        let of = if everyone { String::new() } else { tenant.clone() };
        let change = ControlsChange { tenant: of, paused, max_leased_tasks };
        self.engine().await?.ask(|reply| Command::Control { change, reply }).await??;
        Ok(SetControlsResponse { controls: Some(self.controls(tenant).await?) })
    }

    pub(super) async fn get_controls(&self, request: GetControlsRequest) -> Result<GetControlsResponse, QueueError> {
        Ok(GetControlsResponse { controls: Some(self.controls(request.tenant).await?) })
    }

    async fn controls(&self, tenant: String) -> Result<TenantControls, QueueError> {
        let controls = self.engine().await?.ask(|reply| Command::Controls { tenant, reply }).await?;
        Ok(TenantControls {
            paused: controls.paused,
            everyone_paused: controls.everyone_paused,
            max_leased_tasks: controls.max_leased.unwrap_or(0),
            leased_tasks: controls.leased,
        })
    }
}
