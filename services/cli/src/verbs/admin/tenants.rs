//! `hashmesh admin tenants`: what holds for the work of a tenant.

use clap::{Args, Subcommand};
use hashmesh::{
    admin::v1::{GetTenantControlsRequest, SetTenantControlsRequest},
    limits::MAX_QUOTA,
    v1::TenantSources,
};

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
    /// Limit how many of its tasks workers may hold at once, and what it may bring within a day (UTC).
    Limit(LimitArgs),
    /// Say what its tasks may name besides inline bytes and its own uploads: this and nothing else. Workers must be allowed to
    /// read it, too (`--allow-source`).
    Sources(TenantSourcesArgs),
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
    /// How many tasks workers may hold; 0: any number.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(0..=i64::from(i32::MAX)))]
    max_leased_tasks: Option<u32>,
    /// How many tasks it may bring within a day; 0: any number.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(0..=MAX_QUOTA))]
    tasks_per_day: Option<u64>,
    /// How many bytes; 0: any number.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(0..=MAX_QUOTA))]
    bytes_per_day: Option<u64>,
    #[command(flatten)]
    tenant: TenantArgs,
}

#[derive(Args, Debug)]
#[group(required = true, multiple = true)]
pub(super) struct SourcesArgs {
    /// Everything below a URI: file:///DIRECTORY/, s3://BUCKET/, s3://BUCKET/PREFIX/, https://HOST/; may be given up to 32
    /// times. file:///, s3://, https:// and http:// alone are all files, buckets and hosts.
    #[arg(long, value_name = "URI", conflicts_with = "nothing")]
    allow: Vec<String>,
    /// Nothing at all.
    #[arg(long)]
    nothing: bool,
}

#[derive(Args, Debug)]
pub(super) struct TenantSourcesArgs {
    #[command(flatten)]
    sources: SourcesArgs,
    #[command(flatten)]
    tenant: TenantArgs,
}

impl Tenants {
    pub(super) async fn run(self) -> Result<u8, Failure> {
        match self {
            Self::Get(args) => args.get().await,
            Self::Pause(args) => args.pause(true).await,
            Self::Resume(args) => args.pause(false).await,
            Self::Limit(args) => {
                let LimitArgs { max_leased_tasks, tasks_per_day, bytes_per_day, tenant } = args;
                let change = SetTenantControlsRequest {
                    max_leased_tasks,
                    tasks_per_day,
                    bytes_per_day,
                    ..SetTenantControlsRequest::default()
                };
                tenant.set(change).await
            }
            Self::Sources(TenantSourcesArgs { sources, tenant }) => {
                let sources = Some(TenantSources { uri_prefixes: sources.allow });
                tenant.set(SetTenantControlsRequest { sources, ..SetTenantControlsRequest::default() }).await
            }
        }
    }
}

impl TenantArgs {
    async fn get(self) -> Result<u8, Failure> {
        let request = GetTenantControlsRequest { tenant: self.tenant };
        let answer = answered(self.common.server.client()?.admin().get_tenant_controls(request).await)?;
        controls::write(self.common.output, &answer.controls.unwrap_or_default()).await
    }

    async fn pause(self, paused: bool) -> Result<u8, Failure> {
        self.set(SetTenantControlsRequest { paused: Some(paused), ..SetTenantControlsRequest::default() }).await
    }

    async fn set(self, change: SetTenantControlsRequest) -> Result<u8, Failure> {
        let request = SetTenantControlsRequest { tenant: self.tenant, ..change };
        let answer = answered(self.common.server.client()?.admin().set_tenant_controls(request).await)?;
        controls::write(self.common.output, &answer.controls.unwrap_or_default()).await
    }
}
