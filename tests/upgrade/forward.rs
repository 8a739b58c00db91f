//! From the version before to this one, under load.

use std::time::Duration;

use super::{locks::LockWaits, newer, older};
use crate::{
    rolling::replacing::Rolling,
    support::{Database, heavy},
};

/// A migration waits half a second for a table at a time; the rest is what a busy machine adds.
const LOCK_WAIT: Duration = Duration::from_secs(1);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs an earlier program: make upgrade-test"]
async fn promises_2_and_12_a_mesh_is_migrated_and_replaced_by_this_version_under_load() {
    let _turn = heavy::turn().await;
    let (older, newer) = (older(), newer());
    let database = Database::of_program(&older).await;
    let before = version(&database).await;
    let mut rolling = Rolling::start("upgrade-forward", &older, database).await;
    rolling.under_way().await;

    let waits = LockWaits::watch(&rolling.mesh.database).await;
    let report = rolling.mesh.database.migrate(&newer).await;
    // What the older processes do with the newer tables.
    rolling.under_way().await;
    let longest = waits.looked_on(1).await;
    let after = version(&rolling.mesh.database).await;
    eprintln!("schema {before} became {after}, nobody waited longer than {longest:?} for a table: {report}");
    assert!(after >= before, "{report}");
    assert!(longest < LOCK_WAIT, "{longest:?}");

    rolling.next = newer.clone();
    rolling.replace_worker(0).await;
    rolling.replace_gateway().await;
    rolling.replace_hash().await;
    rolling.replace_worker(1).await;
    // One of this version waits beside the older one that works.
    rolling.replace_waiting_queue().await;
    rolling.replace_queue().await;
    // Two of this version, which share.
    rolling.replace_worker(0).await;
    rolling.assert_all_worked(&[&older, &newer]);
    rolling.finish().await;
}

async fn version(database: &Database) -> u32 {
    let version = database.value("SELECT max(version) FROM refinery_schema_history").await;
    version.parse().expect("a number")
}
