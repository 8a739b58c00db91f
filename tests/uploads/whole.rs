//! From a file to its digest, by the command.

use std::fs;

use crate::{
    support::{
        Mesh, MeshOptions, Up,
        cli::{hashmesh, program},
        oracle::{sha256_hex, sha256sum},
        rundir,
        s3::S3,
        shared,
        wait::{PATIENCE, until},
    },
    uploads::{MIB, content, file, files},
};

#[tokio::test]
async fn promise_7_a_file_larger_than_any_batch_is_uploaded_and_its_digest_is_that_of_sha256sum() {
    let up = Up::start("uploads-whole", &[]).await;
    let path = file("uploads-whole-file", 100 * MIB + 12_345);
    let verb = |arguments: &[&str]| hashmesh(arguments).env("HASHMESH_SERVER", &up.server);
    let uploaded = verb(&["upload", &path.to_string_lossy()]).run().await.succeeded();
    let uri = uploaded.text().trim_end().to_owned();
    assert!(uri.starts_with("upload://default/"), "{uri}");
    let manifest = verb(&["submit", &uri]).run().await.succeeded();
    assert_eq!(manifest.text(), format!("{}  {uri}\n", sha256sum(&path)));
    let verified = verb(&["verify", "-"]).stdin(manifest.stdout).run().await.succeeded();
    assert_eq!(verified.text(), format!("= {uri}\n"));

    // 12 parts of 8 MiB, a last one, and what says that these are all.
    let store = up.data_dir().join("uploads");
    assert_eq!(files(&store).len(), 14);
    verb(&["upload", "--delete", &uri]).run().await.succeeded();
    let ended = verb(&["submit", &uri]).run().await.exits(1);
    assert!(ended.stderr.contains("no such upload"), "{}", ended.stderr);
    until("the bytes to be deleted", PATIENCE, async || files(&store).is_empty().then_some(())).await;
    verb(&["upload", "--delete", &uri]).run().await.exits(69);
}

#[tokio::test]
async fn standard_input_and_several_files_are_uploaded_each_under_its_own_uri() {
    let up = shared::up().await;
    let verb = |arguments: &[&str]| hashmesh(arguments).env("HASHMESH_SERVER", &up.server);
    let piped = verb(&["upload", "-", "--output", "jsonl"]).stdin(content(9 * MIB)).run().await.succeeded();
    let piped = piped.json();
    assert_eq!((&piped["name"], &piped["size"]), (&"-".into(), &(9 * MIB).into()));
    let (small, empty) = (file("uploads-small", 1), file("uploads-empty", 0));
    let uploaded = verb(&["upload", &small.to_string_lossy(), &empty.to_string_lossy()]).run().await.succeeded();
    let text = uploaded.text();
    let uris: Vec<&str> = text.lines().collect();
    assert_eq!(uris.len(), 2);
    let manifest = verb(&["submit", piped["uri"].as_str().expect("a URI"), uris[0], uris[1]]).run().await.succeeded();
    for length in [9 * MIB, 1, 0] {
        assert!(manifest.text().contains(&sha256_hex(&content(length))), "{}", manifest.text());
    }
}

#[tokio::test]
async fn a_bucket_is_a_store_for_gateways_workers_and_queues_of_their_own() {
    let s3 = S3::start("uploads-store", &["uploads"]).await;
    let mut environment = s3.environment();
    environment.push(("HASHMESH_UPLOAD_STORE".to_owned(), "s3://uploads/mesh-1/".to_owned()));
    let options = MeshOptions {
        queue_environment: environment.clone(),
        gateway_environment: environment.clone(),
        worker_environment: environment,
        ..MeshOptions::default()
    };
    let mesh = Mesh::start("uploads-bucket", options).await;
    let path = file("uploads-bucket-file", 20 * MIB);
    let url = mesh.gateway.url();
    let verb = |arguments: &[&str]| hashmesh(arguments).env("HASHMESH_SERVER", &url);
    let uploaded = verb(&["upload", &path.to_string_lossy()]).run().await.succeeded();
    let uri = uploaded.text().trim_end().to_owned();
    assert_eq!(files(&s3.bucket("uploads").join("mesh-1/default")).len(), 4);
    let manifest = verb(&["submit", &uri, "-a", "sha256", "-a", "md5", "--output", "jsonl"]).run().await.succeeded();
    let line = manifest.json();
    assert_eq!((&line["digests"]["sha256"], &line["size"]), (&sha256sum(&path).into(), &(20 * MIB).into()), "{line}");
    verb(&["upload", "--delete", &uri]).run().await.succeeded();
    until("the bucket to be empty", PATIENCE, async || files(&s3.bucket("uploads")).is_empty().then_some(())).await;
}

#[tokio::test]
async fn files_too_large_for_a_task_are_uploaded_by_submit_if_it_may_and_named_as_they_were_given() {
    let up = Up::start("uploads-submit", &[]).await;
    let directory = rundir::directory("uploads-submit-tree");
    let tree = directory.join("tree");
    fs::create_dir_all(&tree).expect("a directory");
    for (name, length) in [("a small one", 10), ("large", 5 * MIB), ("larger", 17 * MIB)] {
        fs::write(tree.join(name), content(length)).expect("a file");
    }
    let verb = |arguments: &[&str]| hashmesh(arguments).env("HASHMESH_SERVER", &up.server).in_directory(&directory);
    let ended = verb(&["submit", "tree"]).run().await.exits(1);
    assert_eq!(ended.stderr.matches("--upload").count(), 2, "{}", ended.stderr);
    let manifest = verb(&["submit", "tree", "--upload"]).run().await.succeeded();
    assert_eq!(manifest.text().lines().count(), 3);
    fs::write(directory.join("manifest"), &manifest.stdout).expect("a file");
    program("sha256sum", ["--check", "--strict", "--quiet", "manifest"])
        .in_directory(&directory)
        .run()
        .await
        .succeeded();
    let verified = verb(&["verify", "manifest", "--upload"]).run().await.succeeded();
    assert_eq!(verified.text(), "= tree/a small one\n= tree/large\n= tree/larger\n");
    verb(&["submit", "tree", "--upload", "--idempotency-key", "x"]).run().await.exits(2);
}

#[tokio::test]
async fn a_mesh_without_a_store_says_how_to_have_one() {
    let mesh = Mesh::start("uploads-none", MeshOptions::default()).await;
    let path = file("uploads-none-file", 1);
    let ended = hashmesh(["upload", &path.to_string_lossy()]).env("HASHMESH_SERVER", &mesh.gateway.url()).run().await;
    let ended = ended.exits(73);
    assert!(ended.stderr.contains("--upload-store"), "{}", ended.stderr);
    let gateway = mesh.connect().await;
    let capabilities = gateway.clone().get_capabilities(hashmesh::gateway::v1::GetCapabilitiesRequest {}).await;
    assert_eq!(capabilities.expect("an answer").into_inner().uploads, None);
}
