//! What each role's certificate is for, asked of the real services for every method that there is.

use bytes::Bytes;
use hashmesh::error::{Reason, reason};
use tonic::Code;

use super::{Secure, channel};
use crate::support::any_rpc;

/// Whose certificates are tried; `client` has no role.
const CALLERS: [&str; 6] = ["gateway", "queue", "hash", "worker", "cache", "client"];

/// Who may call a method, as the documentation has it, and not as the table says it.
fn allowed(path: &str) -> &'static [&'static str] {
    if path.starts_with("/hashmesh.gateway.") {
        return &CALLERS;
    }
    match path {
        "/hashmesh.queue.v1.QueueService/LeaseTasks" => &["worker"],
        "/hashmesh.queue.v1.QueueService/WatchShards" => &["gateway", "worker"],
        _ if path.starts_with("/hashmesh.admin.") => &["gateway", "client"],
        _ => &["gateway"],
    }
}

#[tokio::test]
async fn every_method_is_for_its_roles_and_refused_to_all_others() {
    let mesh = Secure::start("tls-roles").await;
    let ca = mesh.ca();
    let services = [
        (&mesh.gateway, ["hashmesh.gateway.v1", "hashmesh.admin.v1"].as_slice()),
        (&mesh.queue, &["hashmesh.queue.v1"]),
        (&mesh.hash, &["hashmesh.hash.v1"]),
    ];
    let mut tried = 0;
    for (role, packages) in services {
        for caller in CALLERS {
            let channel = channel(&role.address, &ca, Some(&mesh.pair(caller))).await.expect("a connection");
            for (path, _) in any_rpc::methods(packages) {
                // Nothing that could be done: the message is none.
                let asked = any_rpc::call(&channel, &path, None, Bytes::from_static(b"\xff\xff\xff")).await;
                let status = asked.expect_err("no method takes such a message");
                let refused = reason(&status) == Some(Reason::RoleNotAllowed);
                assert_eq!(refused, !allowed(&path).contains(&caller), "{caller} calls {path}: {status:?}");
                assert!(!refused || status.code() == Code::PermissionDenied);
                tried += 1;
            }
        }
    }
    assert!(tried > 200, "{tried}");
}

#[tokio::test]
async fn a_worker_of_another_trust_domain_is_nobody_here() {
    let mesh = Secure::start("tls-domain").await;
    let elsewhere = mesh.certs.with_file_name("elsewhere");
    // The same authority, another mesh.
    std::fs::create_dir(&elsewhere).expect("a directory");
    for name in ["ca.pem", "ca.key"] {
        std::fs::copy(mesh.certs.join(name), elsewhere.join(name)).expect("a copy");
    }
    super::certs(&elsewhere, "localhost", &["--renew", "--trust-domain", "another.example"]).await;
    let worker = crate::support::authority::Pair::of(&elsewhere, "worker");
    let channel = channel(&mesh.queue.address, &mesh.ca(), Some(&worker)).await.expect("a connection");
    let path = "/hashmesh.queue.v1.QueueService/LeaseTasks";
    let status = any_rpc::call(&channel, path, None, Bytes::new()).await.expect_err("refused");
    assert_eq!(reason(&status), Some(Reason::RoleNotAllowed), "{status:?}");
    assert!(status.message().contains("another.example"), "{status:?}");
}
