//! From this version back to the one before, under load, on the newer tables.

use super::{newer, older};
use crate::{
    rolling::replacing::Rolling,
    support::{Database, heavy},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs an earlier program: make upgrade-test"]
async fn promises_2_and_12_a_mesh_is_replaced_by_the_version_before_under_load() {
    let _turn = heavy::turn().await;
    let (older, newer) = (older(), newer());
    let database = Database::create().await;
    let mut rolling = Rolling::start("upgrade-backward", &newer, database).await;
    rolling.under_way().await;
    // Newer tables are left as they are.
    let report = rolling.mesh.database.migrate(&older).await;
    eprintln!("{report}");

    rolling.next = older.clone();
    // The older one waits until nobody of this version owns a shard any more.
    rolling.replace_waiting_queue().await;
    rolling.replace_queue().await;
    rolling.replace_worker(0).await;
    rolling.replace_gateway().await;
    rolling.replace_hash().await;
    rolling.replace_worker(1).await;
    rolling.replace_queue().await;
    rolling.assert_all_worked(&[&older, &newer]);
    rolling.finish().await;
}
