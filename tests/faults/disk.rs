//! A Postgres whose disk is full, and empty again.

use std::time::Duration;

use super::{
    load::Load,
    matrix::{Fault, withstands},
    stage::{Needs, Stage},
};
use crate::support::wait::{PATIENCE, until};

const DISK_MEBIBYTES: u32 = 160;

#[derive(Debug)]
struct Full;

impl Fault for Full {
    fn needs(&mut self, _seed: u64) -> Needs {
        // Little WAL is kept to be used again, so that the disk's end is felt soon.
        let settings = vec!["min_wal_size=2MB", "max_wal_size=8MB"];
        Needs { settings, disk_mebibytes: Some(DISK_MEBIBYTES), ..Needs::default() }
    }

    async fn begin(&mut self, stage: &mut Stage, _: &mut Load) {
        stage.postgres.disk.as_ref().expect("it has one").fill();
    }

    async fn hit(&mut self, stage: &mut Stage, _: &mut Load) -> String {
        let disk = stage.postgres.disk.as_ref().expect("it has one");
        let free = disk.free_bytes();
        let felt = async || {
            // What Postgres itself frees is taken at once.
            disk.fill();
            let log = stage.postgres.log();
            log.lines().find(|line| line.contains("No space left on device")).map(str::to_owned)
        };
        let felt = until("Postgres to have no space left", PATIENCE, felt).await;
        format!("{free} bytes were free, and Postgres said: {felt}")
    }

    async fn end(&mut self, stage: &mut Stage) {
        stage.postgres.disk.as_ref().expect("it has one").empty();
        // Where it could not write its log, it gave up.
        stage.postgres.restart().await;
    }

    fn recovers_within(&self) -> Option<Duration> {
        Some(Duration::from_secs(5))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_disk_of_postgres_is_full() {
    if !rustix::process::geteuid().is_root() {
        println!("SKIPPED: only root may mount a small disk");
        return;
    }
    withstands("the_disk_of_postgres_is_full", || Full).await;
}
