//! Certificates replaced under running processes.

use std::fs;

use hashmesh::{
    gateway::v1::{GetStatsRequest, gateway_service_client::GatewayServiceClient},
    queue::v1::{GetQueueStatsRequest, queue_service_client::QueueServiceClient},
};
use tonic::{Request, transport::Channel};

use super::{Secure, certs, channel};
use crate::support::{
    authority::Pair,
    cli::hashmesh,
    wait::{PATIENCE, until},
};

async fn works(channel: &Channel, key: &str) -> bool {
    let mut request = Request::new(GetStatsRequest {});
    request.metadata_mut().insert("authorization", format!("Bearer {key}").parse().expect("ASCII"));
    GatewayServiceClient::new(channel.clone()).get_stats(request).await.is_ok()
}

async fn may_ask(queue: &str, ca: &std::path::Path, pair: &Pair) -> bool {
    let Ok(channel) = channel(queue, ca, Some(pair)).await else { return false };
    QueueServiceClient::new(channel).get_queue_stats(GetQueueStatsRequest {}).await.is_ok()
}

/// Copies what one authority made over what another made, in the order in which a careful person would.
fn replace(from: &std::path::Path, to: &std::path::Path, names: &[&str]) {
    for name in names {
        let beside = to.join(format!("{name}.beside"));
        fs::copy(from.join(name), &beside).expect("a copy");
        fs::rename(&beside, to.join(name)).expect("replaced");
    }
}

#[tokio::test]
async fn a_running_mesh_moves_to_another_authority_without_a_restart_or_a_failed_call() {
    let mesh = Secure::start("tls-reload").await;
    let old = mesh.certs.with_file_name("old");
    fs::create_dir(&old).expect("a directory");
    for entry in fs::read_dir(&mesh.certs).expect("certificates") {
        let path = entry.expect("one").path();
        fs::copy(&path, old.join(path.file_name().expect("a name"))).expect("a copy");
    }
    let new = mesh.certs.with_file_name("new");
    certs(&new, mesh.gateway.address.rsplit_once(':').expect("a port").0, &[]).await;
    let (old_ca, new_ca) = (old.join("ca.pem"), new.join("ca.pem"));
    let opened = channel(&mesh.gateway.address, &old_ca, None).await.expect("a connection");
    assert!(works(&opened, &mesh.key).await);
    let queue = mesh.queue.address.clone();
    assert!(may_ask(&queue, &old_ca, &Pair::of(&old, "gateway")).await);
    assert!(!may_ask(&queue, &old_ca, &Pair::of(&new, "gateway")).await);

    // Both authorities are believed, then certificates change, then the old authority goes.
    let both = [fs::read(&old_ca), fs::read(&new_ca)].map(|read| read.expect("an authority")).concat();
    fs::write(mesh.certs.join("both.pem"), both).expect("a file");
    fs::rename(mesh.certs.join("both.pem"), mesh.ca()).expect("replaced");
    until("the Queue to believe both", PATIENCE, async || {
        may_ask(&queue, &old_ca, &Pair::of(&new, "gateway")).await.then_some(())
    })
    .await;
    assert!(may_ask(&queue, &old_ca, &Pair::of(&old, "gateway")).await);

    // A certificate without its key is none, which is said once, and what was there stays.
    replace(&new, &mesh.certs, &["gateway.pem"]);
    let mut gateway = mesh.gateway;
    gateway
        .process
        .find_in_log("that it kept the old one", |log| log.contains("what was read before is kept").then_some(()))
        .await;
    channel(&gateway.address, &old_ca, None).await.expect("the old certificate");
    assert!(channel(&gateway.address, &new_ca, None).await.is_err());
    for name in ["gateway", "queue", "hash", "worker"] {
        replace(&new, &mesh.certs, &[&format!("{name}.key"), &format!("{name}.pem")]);
    }
    until("the Gateway to show the new one", PATIENCE, async || channel(&gateway.address, &new_ca, None).await.ok())
        .await;
    until("the Queue to show the new one", PATIENCE, async || {
        may_ask(&queue, &new_ca, &Pair::of(&new, "gateway")).await.then_some(())
    })
    .await;
    replace(&new, &mesh.certs, &["ca.pem"]);
    until("the Queue to believe the new one alone", PATIENCE, async || {
        (!may_ask(&queue, &new_ca, &Pair::of(&old, "gateway")).await).then_some(())
    })
    .await;
    assert!(may_ask(&queue, &new_ca, &Pair::of(&new, "gateway")).await);

    // What was opened at the beginning goes on, and work passes new connections between all of them.
    assert!(works(&opened, &mesh.key).await);
    let url = format!("https://{}", gateway.address);
    let ca = new_ca.display().to_string();
    let submit = ["submit", "--lines", "-", "--server", &url, "--tls-ca", &ca];
    hashmesh(submit).env("HASHMESH_API_KEY", &mesh.key).stdin("one\ntwo\n").run().await.succeeded();
    let log = gateway.process.log();
    assert_eq!(log.matches("what was read before is kept").count(), 1, "{log}");
}
