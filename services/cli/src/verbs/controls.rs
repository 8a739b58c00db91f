//! `hashmesh pause`, `resume` and `controls`: whether and how much work is handed out.

use clap::Args;
use hashmesh::v1::TenantControls;
use serde_json::json;

use super::{
    documents::{AskArgs, write_one},
    failure::Failure,
    output::Format,
};

/// Hand out no more work until `hashmesh resume`. What workers hold is finished; submissions are still taken.
#[derive(Args, Debug)]
pub(crate) struct PauseArgs {
    /// The work of all tenants, and not only your own.
    #[arg(long)]
    everyone: bool,
    #[command(flatten)]
    common: AskArgs,
}

/// Hand out work again after `hashmesh pause`.
#[derive(Args, Debug)]
pub(crate) struct ResumeArgs {
    /// End the pause of everyone, and not your own.
    #[arg(long)]
    everyone: bool,
    #[command(flatten)]
    common: AskArgs,
}

/// Show whether work is paused and how much of it workers may hold at once; change the latter.
#[derive(Args, Debug)]
pub(crate) struct ControlsArgs {
    /// From now on workers may hold this many of your tasks at once; 0: any number.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(0..=i64::from(i32::MAX)))]
    max_leased_tasks: Option<u32>,
    #[command(flatten)]
    common: AskArgs,
}

impl PauseArgs {
    pub(super) async fn run(self) -> Result<u8, Failure> {
        let controls = self.common.server.client()?.pause_work(self.everyone).await?;
        write(self.common.output, &controls).await
    }
}

impl ResumeArgs {
    pub(super) async fn run(self) -> Result<u8, Failure> {
        let controls = self.common.server.client()?.resume_work(self.everyone).await?;
        write(self.common.output, &controls).await
    }
}

impl ControlsArgs {
    pub(super) async fn run(self) -> Result<u8, Failure> {
        let client = self.common.server.client()?;
        let controls = match self.max_leased_tasks {
            Some(max) => client.set_tenant_limits(max).await?,
            None => client.get_controls().await?,
        };
        write(self.common.output, &controls).await
    }
}

pub(super) async fn write(format: Format, controls: &TenantControls) -> Result<u8, Failure> {
    let document = json!({
        "paused": controls.paused,
        "everyone_paused": controls.everyone_paused,
        "max_leased_tasks": controls.max_leased_tasks,
        "leased_tasks": controls.leased_tasks,
        "tasks_per_day": controls.tasks_per_day,
        "bytes_per_day": controls.bytes_per_day,
        "tasks_today": controls.tasks_today,
        "bytes_today": controls.bytes_today,
        "sources": controls.sources.as_ref().map(|sources| &sources.uri_prefixes),
    });
    write_one(format, &document).await
}
