//! The production configuration of Envoy: TLS to clients, TLS to Gateways, and what others can reach of it.

use std::os::unix::fs::PermissionsExt as _;

use serde_json::{Value, json};

use super::Secure;
use crate::support::{
    cli::{Ended, hashmesh, program},
    envoy::Envoy,
    mesh::own_host,
    reflect::path_with_tools,
    rundir,
};

/// A header that says that a call brings no key.
const NO_KEY: &str = "x-no-key: true";

/// The production Envoy before this mesh's Gateway: addresses and the places of certificates are changed, and nothing else.
async fn start(mesh: &Secure) -> Envoy {
    let directory = rundir::directory("tls-edge");
    let host = own_host();
    let at = |address: &str| {
        let (host, port) = address.split_once(':').expect("an address");
        format!("address: {host}, port_value: {port}")
    };
    let certs = mesh.certs.display().to_string();
    let changes = [
        ("/run/envoy/admin.sock", directory.join("admin.sock").display().to_string()),
        (
            "address: \"::\", port_value: 8443, protocol: UDP, ipv4_compat: true",
            format!("address: {host}, port_value: 8443, protocol: UDP"),
        ),
        ("address: \"::\", port_value: 8443, ipv4_compat: true", format!("address: {host}, port_value: 8443")),
        ("address: \"::\", port_value: 9901, ipv4_compat: true", format!("address: {host}, port_value: 9901")),
        ("/run/secrets/edge", format!("{certs}/gateway")),
        ("/run/secrets", certs),
        ("address: gateway, port_value: 7420", at(&mesh.gateway.address)),
        ("address: cache, port_value: 7460", at(&mesh.cache.address)),
        ("address: otel-collector, port_value: 4317", format!("address: {host}, port_value: 4317")),
    ];
    let changes: Vec<_> = changes.iter().map(|(before, after)| (*before, after.as_str())).collect();
    Envoy::start_variant(directory, host, "envoy.yaml", &changes, std::slice::from_ref(&mesh.gateway.address)).await
}

/// A call of curl with this mesh's authority and key; the certificate is for localhost.
async fn curl(mesh: &Secure, envoy: &Envoy, arguments: &[&str], path: &str) -> Ended {
    let ca = mesh.ca().display().to_string();
    let to = format!("localhost:8443:{}:8443", envoy.host);
    let key = format!("authorization: Bearer {}", mesh.key);
    let key: &[&str] = if arguments.contains(&NO_KEY) { &[] } else { &["--header", &key] };
    let usual = ["--silent", "--show-error", "--noproxy", "*", "--cacert", &ca, "--connect-to", &to];
    let usual = [&usual[..], key].concat();
    program("curl", usual.iter().chain(arguments)).arg(format!("https://localhost:8443{path}")).run().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_production_envoy_speaks_tls_on_both_sides_and_shows_nothing_else() {
    let mesh = Secure::start("tls-edge-mesh").await;
    let envoy = start(&mesh).await;

    for version in ["--http1.1", "--http2"] {
        let answer = curl(&mesh, &envoy, &[version, "--data", r#"{"data":"aGVsbG8="}"#], "/v1/digests:compute")
            .await
            .succeeded();
        let expected = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";
        assert_eq!(answer.json()["digests"][0]["hex"], expected, "{version}");
    }
    let head = curl(&mesh, &envoy, &["--include"], "/v1/capabilities").await.succeeded().text();
    assert!(head.contains("alt-svc: h3=\":8443\""), "clients may come by HTTP/3: {head}");
    let answer = curl(&mesh, &envoy, &["--header", NO_KEY], "/v1/capabilities").await.succeeded().json();
    assert_eq!(answer["code"], 16, "without a key: {answer}");
    // Keys and JSON: what an administrator does.
    let keys: Value = curl(&mesh, &envoy, &[], "/v1/admin/keys").await.succeeded().json();
    assert_eq!(keys["keys"].as_array().map(Vec::len), Some(1), "{keys}");

    // gRPC, by our command and by grpcurl.
    let ca = mesh.ca().display().to_string();
    let arguments = ["-cacert", &ca, "-servername", "localhost", "-max-time", "60"];
    let key = format!("authorization: Bearer {}", mesh.key);
    let listed = program("grpcurl", arguments).arg("-H").arg(&key).arg(format!("{}:8443", envoy.host)).arg("list");
    let listed = listed.env("PATH", &path_with_tools()).run().await.succeeded().text();
    assert!(listed.contains("hashmesh.gateway.v1.GatewayService"), "{listed}");

    // Nothing in plain text, and of the administration what Prometheus wants.
    let plain = program("curl", ["--silent", "--noproxy", "*", &format!("http://{}:8443/v1/capabilities", envoy.host)])
        .run()
        .await;
    assert_ne!(plain.code, Some(0), "{}", plain.text());
    let page = async |path: &str| {
        let url = format!("http://{}:9901{path}", envoy.host);
        let arguments = ["--silent", "--noproxy", "*", "--output", "/dev/null", "--write-out", "%{http_code}", &url];
        program("curl", arguments).run().await.succeeded().text()
    };
    assert_eq!(page("/stats/prometheus").await, "200");
    assert_eq!(page("/ready").await, "200");
    for path in ["/", "/config_dump", "/quitquitquit", "/stats", "/certs"] {
        assert_eq!(page(path).await, "404", "{path}");
    }
    let socket = envoy.admin_socket();
    assert_eq!(std::fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o660);
    let arguments = ["--silent", "-X", "POST", "--unix-socket", &socket.to_string_lossy(), "http://envoy/quitquitquit"];
    let refused = program("curl", arguments).run().await.succeeded().text();
    assert!(refused.contains("not allowed"), "{refused}");

    // A Gateway's admin page says what Envoy says.
    let stats = hashmesh(["lb", "stats", "--output", "json", "--envoy-admin", &socket.to_string_lossy()]);
    let stats = stats.run().await.succeeded().json();
    assert_eq!(stats["policy"], "least-request");
    assert_eq!(stats["endpoints"][0]["address"], json!(mesh.gateway.address));
}
