//! Several submissions at once, so that every process has some.

use super::{
    History,
    check::check,
    run::{Load, Run},
};
use crate::support::database::Database;

/// Those that are under way.
#[derive(Debug)]
pub(crate) struct Runs(Vec<Run>);

impl Runs {
    /// One submission to each of these lists of Gateways (see [`Run::start_between`]). Comes back in the middle of all: a quarter of each
    /// is acknowledged, and its last quarter waits for [`Self::finish`].
    pub(crate) async fn in_their_middle(gateways: impl IntoIterator<Item = Vec<String>>, load: Load) -> Self {
        let mut runs: Vec<Run> = gateways.into_iter().map(|servers| Run::start_between(&servers, load)).collect();
        runs.iter().for_each(|run| run.may_write(run.batch_count / 4 * 3));
        for run in &mut runs {
            run.acknowledged(run.batch_count / 4).await;
        }
        Self(runs)
    }

    /// Lets them end. What happened to each, which is clean, and in all how often a writer lost its stream.
    pub(crate) async fn finish(self, database: &Database) -> (Vec<History>, u32) {
        self.0.iter().for_each(Run::may_write_all);
        let (mut histories, mut outages) = (Vec::new(), 0);
        for run in self.0 {
            let batches = run.batch_count as usize;
            let (history, noticed) = run.finish(database).await;
            check(&history).assert_clean();
            assert_eq!(history.acknowledged.len(), batches, "a batch was not acknowledged");
            histories.push(history);
            outages += noticed;
        }
        (histories, outages)
    }
}
