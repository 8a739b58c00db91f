//! Work over TLS, by the tools that people use.

use std::fs;

use serde_json::json;

use super::{Secure, certs, grpcurl};
use crate::support::{
    Up,
    cli::{hashmesh, program},
    rundir,
    wait::{PATIENCE, until},
};

#[tokio::test]
async fn work_passes_five_processes_over_mutual_tls_and_no_secret_is_logged() {
    let mesh = Secure::start("tls-mesh").await;
    let ca = mesh.ca().display().to_string();
    let submit = ["submit", "--lines", "-", "--output", "jsonl", "--server", &mesh.url(), "--tls-ca", &ca];
    let ended = hashmesh(submit).env("HASHMESH_API_KEY", &mesh.key).stdin("one\ntwo\n").run().await.succeeded();
    assert_eq!(ended.json_lines().len(), 2);

    let key = format!("authorization: Bearer {}", mesh.key);
    let address = mesh.gateway.address.as_str();
    let listed = program(grpcurl(), ["-cacert", &ca, "-H", &key, address, "list"]).run().await.succeeded();
    assert!(listed.text().contains("hashmesh.gateway.v1.GatewayService"), "{}", listed.text());
    let input = json!({"data": "aGVsbG8=", "algorithms": ["ALGORITHM_SHA256"]}).to_string();
    let call = ["-cacert", &ca, "-H", &key, "-d", &input, address, "hashmesh.gateway.v1.GatewayService/ComputeDigest"];
    let digest = program(grpcurl(), call).run().await.succeeded().json();
    let expected = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";
    assert_eq!(digest["digests"][0]["hex"], expected);

    // The worker asks the cache, and so does the Gateway.
    let verb = |arguments: &[&str]| {
        let run = hashmesh(arguments).env("HASHMESH_API_KEY", &mesh.key).env("HASHMESH_SERVER", &mesh.url());
        run.env("HASHMESH_TLS_CA", &ca)
    };
    verb(&["admin", "tenants", "sources", "default", "--allow", "file:///usr/bin/"]).run().await.succeeded();
    until("a digest to come from the cache", PATIENCE, async || {
        // Until the Gateway has heard that it may be named.
        let ended = verb(&["submit", "/usr/bin/env", "--cache", "use"]).run().await;
        ended.stderr.contains("1 digests from the cache").then_some(())
    })
    .await;
    let stats = verb(&["cache", "stats", "--output", "json"]).run().await.succeeded().json();
    assert!(stats["put_entries"].as_u64().is_some_and(|put| put >= 1), "{stats}");

    // Whatever was written, and however the settings are shown.
    let config = hashmesh(["config", "--output", "json"])
        .env("HASHMESH_TLS_KEY", &mesh.certs.join("gateway.key").display().to_string());
    let config = config.run().await.succeeded().text();
    let mut said = vec![config, ended.stderr, listed.stderr];
    for role in [&mesh.gateway, &mesh.worker, &mesh.cache, &mesh.hash, &mesh.queue] {
        said.push(role.process.log());
        said.push(role.process.output());
    }
    for name in ["gateway", "queue", "hash", "worker", "cache", "client", "ca"] {
        let pem = fs::read_to_string(mesh.certs.join(format!("{name}.key"))).expect("a key");
        for line in pem.lines().filter(|line| !line.starts_with("-----")) {
            assert!(said.iter().all(|text| !text.contains(line)), "the private key of {name} was shown");
        }
    }
    assert!(said.iter().all(|text| !text.contains(&mesh.key[20..])), "the API key was shown");
    let tenants = mesh.database.value("SELECT string_agg(DISTINCT tenant, ',') FROM submissions").await;
    assert_eq!(tenants, "default");
}

#[tokio::test]
async fn up_with_certificates_prints_lines_that_work() {
    let directory = rundir::directory("tls-up-certs").join("certs");
    certs(&directory, "mesh.example", &[]).await;
    let at = |name: &str| directory.join(name).display().to_string();
    let (certificate, key, ca) = (at("gateway.pem"), at("gateway.key"), at("ca.pem"));
    let options = ["--auth", "keys", "--tls-cert", &certificate, "--tls-key", &key, "--tls-ca", &ca];
    let mut up = Up::start("tls-up", &options).await;
    assert!(up.server.starts_with("https://127.0.0.1:"), "{}", up.server);
    let output = up.process().output();
    let lines: Vec<&str> = output.lines().filter(|line| line.starts_with("grpcurl ")).collect();
    assert_eq!(lines.len(), 3, "{output}");
    for line in lines {
        // The list asks without a key, which is answered too.
        let line = line.replacen("grpcurl", &grpcurl(), 1);
        program("sh", ["-c", &line]).run().await.succeeded();
    }
    let admin_key = format!("@{}", up.data_dir().join("admin.key").display());
    let submit = ["submit", "--lines", "-", "--server", &up.server, "--tls-ca", &ca, "--api-key", &admin_key];
    hashmesh(submit).stdin("one\n").run().await.succeeded();
    assert!(up.terminate().await.success());
}
