//! A Queue of one version is killed while one of the other waits beside it.

use std::{path::Path, time::Instant};

use super::{newer, older};
use crate::{
    history::{
        check::check,
        run::{Load, Run},
    },
    ownership::TAKEOVER,
    support::{Mesh, MeshOptions, heavy},
};

/// Several submissions at once.
const RUNS: usize = 4;
const LOAD: Load = Load { tasks: 10_000, batch_tasks: 100, window: 16, cut_after: 3_000 };

/// `first` is killed, `second` takes over. The Gateway is of the first's version, of the Workers there is one of each.
async fn takes_over(name: &str, first: &Path, second: &Path) {
    let _turn = heavy::turn().await;
    let options = MeshOptions { program: first.to_owned(), workers: 0, ..MeshOptions::default() };
    let mut mesh = Mesh::start(name, options).await;
    mesh.options.program = second.to_owned();
    let mut waiting = mesh.second_queue().await;
    assert_eq!([&mesh.queue, &waiting].map(|queue| queue.process.executable()), [first, second]);
    let queues = [mesh.queue.url(), waiting.url()];
    mesh.add_worker_of(&queues).await;
    mesh.options.program = first.to_owned();
    mesh.add_worker_of(&queues).await;
    mesh.gateway = mesh.gateway_to(&[&mesh.queue, &waiting]).await;

    let mut runs: Vec<Run> = (0..RUNS).map(|_| Run::start_with(&mesh.gateway.url(), LOAD, 0)).collect();
    for run in &mut runs {
        run.may_write(run.batch_count / 4 * 3);
        run.acknowledged(run.batch_count / 4).await;
    }
    assert_ne!(waiting.readiness().await.expect("it answers").0, 200, "it owns something beside one that lives");
    let began = Instant::now();
    mesh.queue.process.kill();
    waiting.ready().await;
    let took = began.elapsed();
    eprintln!("after a kill the other version owned the shards within {took:?}");
    assert!(took < TAKEOVER, "{took:?}");
    runs.iter().for_each(Run::may_write_all);
    for run in runs {
        let acknowledged = *run.progress.borrow();
        let (history, _) = run.finish(&mesh.database).await;
        check(&history).assert_clean();
        assert!(history.acknowledged.len() > acknowledged as usize, "nothing was left to the one that took over");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs an earlier program: make upgrade-test"]
async fn promises_1_and_2_a_newer_queue_takes_over_from_an_older_one_that_is_killed_under_load() {
    takes_over("upgrade-older-killed", &older(), &newer()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs an earlier program: make upgrade-test"]
async fn promises_1_and_2_an_older_queue_takes_over_from_a_newer_one_that_is_killed_under_load() {
    takes_over("upgrade-newer-killed", &newer(), &older()).await;
}
