//! Around COMMIT a Queue dies, or its answer is lost: by failpoints, which are in builds with the feature `mutants` only.

use std::{os::unix::process::ExitStatusExt as _, time::Duration};

use super::{
    load::Load,
    matrix::{Fault, withstands},
    stage::{Needs, Stage},
};
use crate::support::wait::PATIENCE;

/// A failpoint of the first Queue, at a transaction that the seed chooses.
#[derive(Debug)]
struct Failpoint {
    name: &'static str,
    /// It aborts the process.
    deadly: bool,
}

impl Fault for Failpoint {
    fn needs(&mut self, seed: u64) -> Needs {
        let failpoint = format!("{}:{}", self.name, 150 + seed % 250);
        Needs { queue: vec![("HASHMESH_FAILPOINT".to_owned(), failpoint)], ..Needs::default() }
    }

    fn lasts(&self) -> Duration {
        Duration::ZERO
    }

    async fn begin(&mut self, _: &mut Stage, _: &mut Load) {}

    async fn hit(&mut self, stage: &mut Stage, _: &mut Load) -> String {
        let process = &mut stage.queues[0].process;
        let log = process.find_in_log("that a failpoint strikes", |log| {
            log.lines().find(|line| line.contains("a failpoint strikes")).map(str::to_owned)
        });
        let struck = log.await;
        if self.deadly {
            let status = process.ended(PATIENCE).await;
            assert_eq!(status.signal(), Some(6), "{status}");
        }
        struck
    }

    async fn end(&mut self, stage: &mut Stage) {
        if self.deadly {
            stage.lost_by(0).await;
            let queue = &mut stage.queues[0];
            queue.set_environment(&[]);
            queue.restart().await;
        }
    }
}

macro_rules! failpoints {
    ($($(#[$attribute:meta])? $test:ident: $name:literal $deadly:literal;)*) => {$(
        $(#[$attribute])?
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $test() {
            withstands(stringify!($test), || Failpoint { name: $name, deadly: $deadly }).await;
        }
    )*};
}

failpoints! {
    #[ignore = "make faults"] a_queue_dies_before_commit: "before-commit" true;
    a_queue_dies_after_commit: "after-commit" true;
    the_answer_to_commit_is_lost: "reply-lost" false;
}
