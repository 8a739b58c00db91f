//! How large the batches are of verbs that submit in order to compare.

use clap::Args;
use hashmesh::{client::BatchBuilder, limits::MAX_BATCH_TASKS, v1::Limits};

/// How large batches are.
#[derive(Args, Clone, Copy, Debug)]
pub(super) struct BatchArgs {
    /// Tasks in a batch, at most.
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_BATCH_TASKS)))]
    batch_tasks: u32,
}

impl BatchArgs {
    /// Makes batches that are no larger than that, nor than the mesh allows.
    pub(super) fn builder(self, limits: Limits) -> BatchBuilder {
        BatchBuilder::new(limits).at_most(self.batch_tasks)
    }
}
