//! `hashmesh admin tenants`: what holds for the work of a tenant.

use clap::{Args, Subcommand};
use hashmesh::admin::v1::{GetTenantControlsRequest, SetTenantControlsRequest};

use super::{
    super::{controls, documents::AskArgs, failure::Failure},
    answered,
};

/// What holds for the work of tenants.
#[derive(Debug, Subcommand)]
pub(super) enum Tenants {
    /// Show it.
    Get(TenantArgs),
    /// Hand out none of its tasks until `resume`. What workers hold is finished; submissions are still taken.
    Pause(TenantArgs),
    /// Hand out its tasks again.
    Resume(TenantArgs),
    /// Limit how many of its tasks workers may hold at once.
    Limit(LimitArgs),
}

#[derive(Args, Debug)]
pub(super) struct TenantArgs {
    /// The tenant.
    #[arg(value_name = "NAME")]
    tenant: String,
    #[command(flatten)]
    common: AskArgs,
}

#[derive(Args, Debug)]
pub(super) struct LimitArgs {
    /// How many; 0: any number.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(0..=i64::from(i32::MAX)))]
    max_leased_tasks: u32,
    #[command(flatten)]
    tenant: TenantArgs,
}

impl Tenants {
    pub(super) async fn run(self) -> Result<u8, Failure> {
        match self {
            Self::Get(args) => args.get().await,
            Self::Pause(args) => args.set(Some(true), None).await,
            Self::Resume(args) => args.set(Some(false), None).await,
            Self::Limit(args) => args.tenant.set(None, Some(args.max_leased_tasks)).await,
        }
    }
}

impl TenantArgs {
    async fn get(self) -> Result<u8, Failure> {
        let request = GetTenantControlsRequest { tenant: self.tenant };
        let answer = answered(self.common.server.client()?.admin().get_tenant_controls(request).await)?;
        controls::write(self.common.output, &answer.controls.unwrap_or_default()).await
    }

    async fn set(self, paused: Option<bool>, max_leased_tasks: Option<u32>) -> Result<u8, Failure> {
        let request = SetTenantControlsRequest { tenant: self.tenant, paused, max_leased_tasks };
        let answer = answered(self.common.server.client()?.admin().set_tenant_controls(request).await)?;
        controls::write(self.common.output, &answer.controls.unwrap_or_default()).await
    }
}
