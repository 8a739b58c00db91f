//! `hashmesh admin workers`: list, drain, resume.

use clap::{Args, Subcommand};
use hashmesh::{
    admin::v1::{ListWorkersRequest, SetWorkerDrainingRequest},
    v1::WorkerStats,
};
use serde_json::json;

use super::{
    super::{
        documents::{AskArgs, Rows},
        failure::Failure,
    },
    answered,
};

/// Workers.
#[derive(Debug, Subcommand)]
pub(super) enum Workers {
    /// Show the workers that are connected.
    List(AskArgs),
    /// Give a worker no more leases. At 0 leased tasks it can be stopped and nothing waits for it.
    Drain(WorkerArgs),
    /// Give it leases again.
    Resume(WorkerArgs),
}

#[derive(Args, Debug)]
pub(super) struct WorkerArgs {
    /// The worker.
    #[arg(value_name = "NAME")]
    worker: String,
    #[command(flatten)]
    common: AskArgs,
}

impl Workers {
    pub(super) async fn run(self) -> Result<u8, Failure> {
        match self {
            Self::List(common) => {
                let answer = common.server.client()?.admin().list_workers(ListWorkersRequest {}).await;
                write(&common, &answered(answer)?.workers).await
            }
            Self::Drain(args) => args.set(true).await,
            Self::Resume(args) => args.set(false).await,
        }
    }
}

impl WorkerArgs {
    async fn set(self, draining: bool) -> Result<u8, Failure> {
        let request = SetWorkerDrainingRequest { worker_id: self.worker, draining };
        let answer = self.common.server.client()?.admin().set_worker_draining(request).await;
        write(&self.common, &answered(answer)?.workers).await
    }
}

async fn write(common: &AskArgs, workers: &[WorkerStats]) -> Result<u8, Failure> {
    let mut rows = Rows::new(common.output, "workers");
    for worker in workers {
        let sources: Vec<&str> = worker.sources.iter().map(|source| source.uri_prefix.as_str()).collect();
        rows.put(&json!({
            "worker_id": worker.worker_id,
            "draining": worker.draining,
            "slots": worker.slots,
            "leases": worker.leases,
            "leased_tasks": worker.leased_tasks,
            "recorded_tasks": worker.recorded_tasks,
            "sources": sources,
        }))?;
    }
    rows.end().await
}
