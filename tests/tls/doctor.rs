//! `hashmesh doctor` of meshes that speak TLS.

use serde_json::Value;

use super::Secure;
use crate::support::{
    Role,
    authority::Authority,
    cli::{Ended, hashmesh},
    mesh::own_host,
    rundir,
};

/// A check by its name.
#[track_caller]
fn check(ended: &Ended, name: &str) -> Value {
    let findings = ended.json();
    let found = findings["checks"].as_array().expect("checks").iter().find(|check| check["name"] == name);
    found.unwrap_or_else(|| panic!("no {name} in {findings}")).clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_says_how_long_certificates_are_good_for_and_that_a_key_is_missing() {
    let mesh = Secure::start("tls-doctor").await;
    let (url, ca) = (mesh.url(), mesh.ca().display().to_string());
    let usual = ["doctor", "--server", &url, "--tls-ca", &ca, "--for", "1s", "--output", "json"];
    let ended = hashmesh(usual).env("HASHMESH_API_KEY", &mesh.key).run().await.succeeded();
    let tls = check(&ended, "tls");
    assert_ne!(tls["state"], "fail", "{tls}");
    assert!(tls["measured"]["days_left"].as_f64().is_some_and(|days| days > 0.0), "{tls}");
    let host = mesh.gateway.address.rsplit_once(':').expect("a port").0;
    assert!(tls["measured"]["names"].as_array().is_some_and(|names| names.iter().any(|name| name == host)), "{tls}");

    let ended = hashmesh(usual).run().await.exits(1);
    let keys = check(&ended, "keys");
    assert!(keys["state"] == "fail" && keys["remedy"].to_string().contains("--api-key"), "{keys}");
    assert_eq!(check(&ended, "stream")["state"], "skipped");
    assert_eq!(check(&ended, "tls")["state"], tls["state"], "that is seen without a key");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_expired_certificate_is_named_although_the_mesh_cannot_be_reached() {
    let directory = rundir::directory("tls-doctor-expired");
    let authority = Authority::new(&directory);
    let host = own_host();
    let pair = authority.issue("gateway", &host, None, true);
    // Without an authority of its own it does not look whether others would believe it.
    let mut arguments = ["--queue", "http://127.0.0.1:1", "--hash", "http://127.0.0.1:1"].map(str::to_owned).to_vec();
    arguments.extend(pair.options(None));
    let gateway = Role::start_on(&host, "gateway", "gateway", arguments, &[], directory.clone()).await;
    let (url, ca) = (format!("https://{}", gateway.address), authority.ca().display().to_string());
    let usual = ["doctor", "--server", &url, "--tls-ca", &ca, "--output", "json"];
    let ended = hashmesh(usual).run().await.exits(78);
    let tls = check(&ended, "tls");
    assert_eq!(tls["state"], "fail", "{tls}");
    assert!(tls["found"].as_str().is_some_and(|found| found.starts_with("expired 24.")), "{tls}");
    assert_eq!(check(&ended, "reach")["state"], "fail");
}
