//! Planned stops under load: nothing is lost, no call fails, exit code 0 (promise 12).

use std::time::Duration;

use crate::{
    history::{
        check::check,
        run::{Load, Run},
    },
    support::{Database, Mesh, MeshOptions, Up, heavy},
};

const LOAD: Load = Load { tasks: 150_000, batch_tasks: 300, window: 16, cut_after: 65_000 };

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn promise_12_an_up_that_is_stopped_under_load_exits_0_and_loses_nothing() {
    let _turn = heavy::turn().await;
    let mut up = Up::start("graceful-up", &[]).await;
    let mut run = Run::start_held(&up.server, LOAD);
    let share = run.batch_count / 3;
    for stop in [0, share] {
        run.may_write(stop + share);
        run.acknowledged(stop + share / 4).await;
        let status = up.terminate().await;
        assert!(status.success(), "it ended with {status}");
        up.restart().await;
    }
    run.may_write_all();
    let (history, _) = run.finish(&Database::of_url(up.database_url())).await;
    check(&history).assert_clean();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn promise_12_every_role_that_is_stopped_under_load_exits_0_and_loses_nothing() {
    let _turn = heavy::turn().await;
    let mut mesh = Mesh::start("graceful-roles", MeshOptions { workers: 2, ..MeshOptions::default() }).await;
    let mut run = Run::start(&mesh.gateway.url(), LOAD);
    let batches = run.batch_count;
    run.acknowledged(batches / 8).await;
    assert!(mesh.workers[0].terminate().await.success());
    run.acknowledged(batches * 2 / 8).await;
    assert!(mesh.gateway.terminate().await.success());
    mesh.gateway.restart().await;
    run.acknowledged(batches * 3 / 8).await;
    assert!(mesh.queue.terminate().await.success());
    mesh.queue.restart().await;
    run.acknowledged(batches * 4 / 8).await;
    assert!(mesh.hash.terminate().await.success());
    let database = mesh.database.clone();
    let (history, _) = run.finish(&database).await;
    check(&history).assert_clean();
    // Nothing had to be rescued or refused: what was in hand was handed in or given back.
    let stats = mesh.connect().await.get_stats(hashmesh::gateway::v1::GetStatsRequest {}).await.expect("an answer");
    let queue = stats.into_inner().queue.expect("it has one");
    assert_eq!((queue.refused_tasks, queue.rescued_leases), (0, 0), "{queue:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn promise_12_an_idle_mesh_stops_at_once_and_streams_that_idle_do_not_hold_it_up() {
    let _turn = heavy::turn().await;
    let mut up = Up::start("graceful-idle", &[]).await;
    let mut gateway = crate::support::Gateway::connect(&up.server).await;
    let (_stream, opened) = gateway.open_new().await;
    let request = hashmesh::gateway::v1::WatchSubmissionRequest { submission_id: opened.submission_id };
    let _watch = gateway.watch_submission(request).await.expect("it is watched");
    let started = std::time::Instant::now();
    let status = up.terminate().await;
    assert!(status.success(), "it ended with {status}");
    assert!(started.elapsed() < Duration::from_secs(15), "it took {:?}", started.elapsed());
}
