//! Both versions at once for as long as anybody likes: Gateways and Workers of both before a Queue of one.

use std::{path::Path, time::Duration};

use hashmesh::{
    client::{Client, ClientConfig},
    v1::{Algorithm, SubmissionOptions},
};

use super::{newer, older};
use crate::{
    history::{
        check::check,
        client::{ClientRun, Load},
        run,
        runs::Runs,
    },
    ownership::shared,
    rolling::{
        files::{file_digests, file_tasks},
        replacing::{assert_nothing_was_done_twice, queue_stats},
    },
    support::{
        Database, Mesh, MeshOptions, Role,
        calls::Calls,
        cli, heavy, rundir,
        wait::{PATIENCE, until},
    },
};

/// Of each submission; the reader that resumes does so ten times.
const INLINE: run::Load = run::Load { tasks: 20_000, batch_tasks: 100, window: 16, cut_after: 2_000 };

fn client(gateway: &Role) -> Client {
    Client::connect(ClientConfig::new(gateway.url())).expect("a URL")
}

/// Two submissions whose streams go to both Gateways in turns, the other one first for the second. Comes back when they are in
/// their midst.
async fn start_runs(gateways: [&Role; 2]) -> Runs {
    let [one, other] = gateways.map(Role::url);
    Runs::in_their_middle([vec![one.clone(), other.clone()], vec![other, one]], INLINE).await
}

/// Lets them end. Gives how often a writer's stream moved to the other Gateway.
async fn finish_runs(runs: Runs, database: &Database) -> u32 {
    let (histories, moved) = runs.finish(database).await;
    for reader in histories.iter().map(|history| &history.readers) {
        // Each of its streams but the first resumed what the other Gateway had told.
        assert!(reader.iter().any(|reader| reader.sessions.len() > 5), "nobody resumed");
    }
    moved
}

/// A program's own client, at a Gateway of the other version.
async fn submit_by(program: &Path, gateway: &Role) {
    let directory = rundir::directory("submitted");
    for file in 0..20 {
        std::fs::write(directory.join(file.to_string()), file.to_string().repeat(1_000)).expect("a file");
    }
    let submit = cli::program(program, ["submit", "--inline", "--server", &gateway.url(), "."]);
    let manifest = submit.in_directory(&directory).run().await.succeeded();
    assert_eq!(manifest.text().lines().count(), 20);
    let checking = cli::program("sha256sum", ["-c", "--strict", "--quiet", "-"]).stdin(manifest.stdout);
    checking.in_directory(&directory).run().await.succeeded();
}

/// A Queue of one version, Gateways and Workers of both, then of the `other` alone.
async fn side_by_side(name: &str, queue: &Path, other: &Path) {
    let _turn = heavy::turn().await;
    let root = rundir::directory(name);
    let (program, sources) = (queue.to_owned(), vec![root.clone()]);
    let worker_environment = vec![("HASHMESH_DRAIN_GRACE".to_owned(), "10m".to_owned())];
    let options = MeshOptions { program, workers: 1, sources, worker_environment, ..MeshOptions::default() };
    let mut mesh = Mesh::start(name, options).await;
    mesh.options.program = other.to_owned();
    mesh.add_worker().await;
    let other_gateway = mesh.gateway_to(&[&mesh.queue]).await;
    let running = [&mesh.queue, &mesh.gateway, &mesh.workers[0], &other_gateway, &mesh.workers[1]];
    let programs = running.map(|role| role.process.executable());
    assert_eq!(programs.each_ref().map(|program| &**program), [queue, queue, queue, other, other]);

    let of_other = client(&other_gateway);
    let runs = start_runs([&mesh.gateway, &other_gateway]).await;
    let algorithms = [Algorithm::Sha256, Algorithm::Sha512, Algorithm::Sha3256, Algorithm::Md5];
    let options = SubmissionOptions { algorithms: algorithms.map(i32::from).to_vec(), ..SubmissionOptions::default() };
    let load = Load { options, batch_tasks: 1, ahead: 4, pace: Duration::from_millis(1) };
    let files = ClientRun::start(&of_other, load, move |tasks| file_tasks(&root, tasks)).await;
    let calls = [Calls::start(client(&mesh.gateway)), Calls::start(of_other.clone())];
    until("both Gateways and both Workers to work", PATIENCE, async || {
        let workers = queue_stats(&of_other).await.workers;
        let both_hold = workers.len() == 2 && workers.iter().all(|worker| worker.leases > 0);
        (both_hold && files.outcomes() >= 4 && calls.iter().all(|calls| calls.made() >= 5)).then_some(())
    })
    .await;

    submit_by(other, &mesh.gateway).await;
    submit_by(queue, &other_gateway).await;
    let [calls, calls_of_other] = calls;
    calls.finish().await;
    assert!(mesh.gateway.terminate().await.success());
    assert!(mesh.workers[0].terminate().await.success());
    let (outcomes, made) = (files.outcomes(), calls_of_other.made());
    // Now through processes of the other version only, but for the Queue.
    let moved = finish_runs(runs, &mesh.database).await;
    assert!(moved > 0, "no writer was with the Gateway that stopped");
    until("files and calls to go on", PATIENCE, async || {
        (files.outcomes() >= outcomes + 3 && calls_of_other.made() >= made + 5).then_some(())
    })
    .await;
    calls_of_other.finish().await;
    let history = files.finish(file_digests, &mesh.database).await;
    check(&history).assert_clean();
    assert_nothing_was_done_twice(&of_other).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs an earlier program: make upgrade-test"]
async fn promises_2_and_12_older_gateways_and_workers_work_beside_newer_ones_before_a_newer_queue() {
    side_by_side("upgrade-newer-queue", &newer(), &older()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs an earlier program: make upgrade-test"]
async fn promises_2_and_12_newer_gateways_and_workers_work_beside_older_ones_before_an_older_queue() {
    side_by_side("upgrade-older-queue", &older(), &newer()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs an earlier program: make upgrade-test"]
async fn promises_1_and_2_an_older_gateway_before_two_newer_queues_loses_and_repeats_nothing() {
    let _turn = heavy::turn().await;
    let mut mesh = Mesh::start("upgrade-two-queues", MeshOptions { workers: 0, ..MeshOptions::default() }).await;
    let second = mesh.second_queue().await;
    shared(&mesh.queue, &[&mesh.queue, &second]).await;
    // One that knows both: an older one has a stream to one of them only.
    mesh.add_worker_of(&[mesh.queue.url(), second.url()]).await;
    mesh.options.program = older();
    mesh.add_worker_of(&[mesh.queue.url(), second.url()]).await;
    mesh.gateway = mesh.gateway_to(&[&mesh.queue, &second]).await;
    let further = mesh.gateway_to(&[&second, &mesh.queue]).await;
    let runs = start_runs([&mesh.gateway, &further]).await;
    let calls = [&mesh.gateway, &further].map(|gateway| Calls::start(client(gateway)));
    until("calls to be made", PATIENCE, async || calls.iter().all(|calls| calls.made() >= 20).then_some(())).await;
    for calls in calls {
        calls.finish().await;
    }
    let moved = finish_runs(runs, &mesh.database).await;
    eprintln!("writers lost {moved} streams");
}
