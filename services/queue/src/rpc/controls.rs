//! Pause, resume, limits.

use hashmesh::{
    limits::{MAX_LEASED_TASKS, MAX_QUOTA},
    queue::v1::{
        GetControlsRequest, GetControlsResponse, SetControlsRequest, SetControlsResponse, SetWorkerDrainingRequest,
        SetWorkerDrainingResponse,
    },
    v1::TenantControls,
};
use uuid::Uuid;

use super::Shared;
use crate::{
    engine::{Command, TenantStanding},
    error::QueueError,
    shard::Shard,
    store::{self, model::ControlsChange},
    wall::WallTime,
};

impl Shared {
    pub(super) async fn set_controls(&self, request: SetControlsRequest) -> Result<SetControlsResponse, QueueError> {
        let SetControlsRequest { tenant, everyone, paused, max_leased_tasks, tasks_per_day, bytes_per_day, sources } =
            request;
        if tenant.is_empty() {
            // An empty name stands for everyone in the tables.
            return Err(QueueError::invalid("tenant", "must not be empty"));
        }
        let per_tenant = [
            ("max_leased_tasks", max_leased_tasks.is_some()),
            ("tasks_per_day", tasks_per_day.is_some()),
            ("bytes_per_day", bytes_per_day.is_some()),
            ("sources", sources.is_some()),
        ];
        if everyone && let Some((field, _)) = per_tenant.into_iter().find(|(_, set)| *set) {
            return Err(QueueError::invalid(field, "is for one tenant and not for everyone"));
        }
        for (field, limit) in [("tasks_per_day", tasks_per_day), ("bytes_per_day", bytes_per_day)] {
            if limit > Some(MAX_QUOTA) {
                return Err(QueueError::invalid(field, format!("must be 0 to {MAX_QUOTA}")));
            }
        }
        if max_leased_tasks.is_some_and(|max| max > MAX_LEASED_TASKS) {
            return Err(QueueError::invalid("max_leased_tasks", format!("must be 0 to {MAX_LEASED_TASKS}")));
        }
        let of = if everyone { String::new() } else { tenant.clone() };
        let sources = sources.map(|sources| sources.uri_prefixes);
        // They are stored as lines.
        if sources.iter().flatten().any(|uri| uri.contains('\n')) {
            return Err(QueueError::invalid("sources.uri_prefixes", "must be URIs"));
        }
        let change = ControlsChange { tenant: of, paused, max_leased_tasks, tasks_per_day, bytes_per_day, sources };
        // One owner stores what operators say, so that it has an order; the others hear of it within a second.
        self.engine_of(Shard::of(Uuid::nil()))?.ask(|reply| Command::Control { change, reply }).await??;
        Ok(SetControlsResponse { controls: Some(self.controls(tenant).await?) })
    }

    pub(super) async fn get_controls(&self, request: GetControlsRequest) -> Result<GetControlsResponse, QueueError> {
        Ok(GetControlsResponse { controls: Some(self.controls(request.tenant).await?) })
    }

    pub(super) async fn set_worker_draining(
        &self,
        request: SetWorkerDrainingRequest,
    ) -> Result<SetWorkerDrainingResponse, QueueError> {
        let SetWorkerDrainingRequest { worker_id: name, draining } = request;
        let ask = |reply| Command::DrainWorker { name, draining, reply };
        Ok(SetWorkerDrainingResponse { workers: self.engine()?.ask(ask).await?? })
    }

    async fn controls(&self, tenant: String) -> Result<TenantControls, QueueError> {
        let (database, day) = (&self.config.database, WallTime::now().day());
        let elsewhere = store::usage_of_others(database, day, self.process, Some(&tenant)).await?;
        let elsewhere = elsewhere.first().map(|row| row.used).unwrap_or_default();
        let standing = self.engine()?.ask(|reply| Command::Controls { tenant, reply }).await?;
        let TenantStanding { controls, quota, used, sources } = standing;
        Ok(TenantControls {
            paused: controls.paused,
            everyone_paused: controls.everyone_paused,
            max_leased_tasks: controls.max_leased.unwrap_or(0),
            leased_tasks: controls.leased,
            tasks_per_day: quota.tasks.unwrap_or(0),
            bytes_per_day: quota.bytes.unwrap_or(0),
            tasks_today: used.tasks.saturating_add(elsewhere.tasks),
            bytes_today: used.bytes.saturating_add(elsewhere.bytes),
            sources,
        })
    }
}
