//! `hashmesh admin audit`: what was done with administrative rights.

use clap::Args;
use hashmesh::admin::v1::ListAuditRequest;
use serde_json::json;

use super::{
    super::{
        documents::{AskArgs, Rows},
        failure::Failure,
        submission::timestamp,
    },
    answered,
};

/// Show what was done with administrative rights, newest first.
#[derive(Args, Debug)]
pub(super) struct AuditArgs {
    /// At most this many entries.
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    limit: u32,
    #[command(flatten)]
    common: AskArgs,
}

impl AuditArgs {
    pub(super) async fn run(self) -> Result<u8, Failure> {
        let request = ListAuditRequest { page_size: self.limit, ..ListAuditRequest::default() };
        let page = answered(self.common.server.client()?.admin().list_audit(request).await)?;
        let mut rows = Rows::new(self.common.output, "entries");
        for entry in &page.entries {
            rows.put(&json!({
                "entry_id": entry.entry_id,
                "time": entry.time.as_ref().and_then(timestamp),
                "actor": entry.actor,
                "action": entry.action,
                "target": entry.target,
                "detail": entry.detail,
            }))?;
        }
        rows.end().await
    }
}
