//! Queue, Workers, Gateway and Hash are replaced one after the other while all of them work (promises 2, 3, 12).

pub(crate) mod files;
pub(crate) mod replacing;

use std::path::Path;

use self::replacing::Rolling;
use crate::support::{Database, heavy, process::HASHMESH};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn promise_12_a_rolling_restart_of_every_role_under_load_fails_no_call_and_repeats_no_work() {
    let _turn = heavy::turn().await;
    let rounds = if heavy::long() { 10 } else { 1 };
    let mut rolling = Rolling::start("rolling", Path::new(HASHMESH), Database::create().await).await;
    for _ in 0..rounds {
        rolling.replace_queue().await;
        rolling.replace_worker(0).await;
        rolling.replace_queue_and_worker(1).await;
        rolling.replace_gateway().await;
        rolling.replace_hash().await;
    }
    rolling.finish().await;
}
