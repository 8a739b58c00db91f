//! What breaks while an object is uploaded.

use std::{fs, process::Stdio, time::Duration};

use hashmesh::{
    client::{Client, ClientConfig},
    gateway::v1::GetUploadRequest,
    v1::UploadState,
};
use tokio::process::Command;

use crate::{
    support::{
        Gateway, Mesh, MeshOptions, Up,
        cli::hashmesh,
        oracle::{sha256_hex, sha256sum},
        process::{HASHMESH, clean_environment},
        rundir, shared,
        wait::{PATIENCE, until},
    },
    uploads::{MIB, Uploading, content, file, files, outcome, proxy::CuttingProxy, upload},
};

#[tokio::test]
async fn promise_7_an_upload_whose_connection_is_cut_again_and_again_is_the_object_in_the_end() {
    let up = shared::up().await;
    // Within the first part, at its end, behind it, in the middle of several; and right at the start.
    let cuts = vec![3 * MIB, 8 * MIB, 8 * MIB + 70_000, 20 * MIB, 100, 10 * MIB];
    let proxy = CuttingProxy::start(&up.server, cuts.clone()).await;
    let object = content(50 * MIB + 1);
    let client = Client::connect(ClientConfig::new(&proxy.url)).expect("an address");
    let mut uploader = client.upload(None).await.expect("opened");
    for piece in object.chunks(300_000) {
        uploader.write(bytes::Bytes::copy_from_slice(piece)).await.expect("written");
    }
    let uploaded = uploader.finish().await.expect("completed");
    assert_eq!(proxy.cuts(), cuts.len(), "every cut must meet the upload");
    assert_eq!((uploaded.state(), uploaded.stored_bytes), (UploadState::Complete, object.len() as u64));
    let read = outcome(&mut shared::gateway().await, &uploaded.uri).await.expect("accepted");
    assert_eq!(read.digests[0].hex, sha256_hex(&object), "{read:?}");
}

#[tokio::test]
async fn promise_1_kill_9_of_gateway_and_queue_in_the_middle_loses_nothing_that_was_stored() {
    let store = rundir::directory("uploads-kills-store");
    let environment = vec![("HASHMESH_UPLOAD_STORE".to_owned(), store.to_string_lossy().into_owned())];
    let options = MeshOptions {
        queue_environment: environment.clone(),
        gateway_environment: environment.clone(),
        worker_environment: environment,
        ..MeshOptions::default()
    };
    let mut mesh = Mesh::start("uploads-kills", options).await;
    let object = content(64 * MIB);
    let client = Client::connect(ClientConfig::new(mesh.gateway.url())).expect("an address");
    let mut uploader = client.upload(None).await.expect("opened");
    let mut stored_before = 0;
    for (number, piece) in object.chunks(MIB).enumerate() {
        match number {
            20 => mesh.gateway.restart().await,
            35 => mesh.queue.restart().await,
            50 => {
                mesh.gateway.restart().await;
                mesh.queue.restart().await;
            }
            _ => {}
        }
        uploader.write(bytes::Bytes::copy_from_slice(piece)).await.expect("written");
        let stored = uploader.upload().stored_bytes;
        assert!(stored >= stored_before, "{stored} bytes are stored, and were {stored_before}");
        stored_before = stored;
    }
    let uploaded = uploader.finish().await.expect("completed");
    mesh.queue.ready().await;
    let read = outcome(&mut mesh.connect().await, &uploaded.uri).await.expect("accepted");
    assert_eq!(read.digests[0].hex, sha256_hex(&object), "{read:?}");
}

#[tokio::test]
async fn a_command_that_was_killed_is_taken_up_by_its_id() {
    let up = shared::up().await;
    let path = file("uploads-resumed", 40 * MIB);
    // It is told half of the file, and dies when that is stored.
    let mut command = std::process::Command::new(HASHMESH);
    clean_environment(&mut command);
    command.args(["upload", "--server", &up.server, "-"]);
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = Command::from(command).kill_on_drop(true).spawn().expect("it starts");
    let mut stdin = child.stdin.take().expect("piped");
    let mut stderr = tokio::io::BufReader::new(child.stderr.take().expect("piped"));
    let mut line = String::new();
    tokio::io::AsyncBufReadExt::read_line(&mut stderr, &mut line).await.expect("a line");
    let id = line.split(' ').nth(2).expect("an id").to_owned();
    tokio::io::AsyncWriteExt::write_all(&mut stdin, &content(40 * MIB)[..20 * MIB]).await.expect("it reads");
    let mut gateway = shared::gateway().await;
    let stored = until("two parts to be stored", PATIENCE, async || {
        let request = GetUploadRequest { upload_id: id.clone() };
        let upload = gateway.get_upload(request).await.expect("it is there").into_inner().upload.expect("an upload");
        (upload.stored_bytes >= 16 * MIB as u64).then_some(upload.stored_bytes)
    })
    .await;
    assert!(stored < 40 * MIB as u64);
    child.kill().await.expect("it runs");

    let ended = hashmesh(["upload", "--server", &up.server, "--id", &id, &path.to_string_lossy()]).run().await;
    let uri = ended.succeeded().text().trim_end().to_owned();
    assert!(uri.ends_with(&id), "{uri}");
    let read = outcome(&mut gateway, &uri).await.expect("accepted");
    assert_eq!(read.digests[0].hex, sha256sum(&path), "{read:?}");
    // Once more: it is complete, and nothing is sent.
    let again = hashmesh(["upload", "--server", &up.server, "--id", &id, &path.to_string_lossy()]).run().await;
    assert_eq!(again.succeeded().text().trim_end(), uri);
}

#[tokio::test]
async fn a_store_that_cannot_be_written_is_told_and_the_upload_goes_on_once_it_can() {
    let up = Up::start("uploads-broken", &[]).await;
    let tenant = up.data_dir().join("uploads/default");
    fs::write(&tenant, "no directory").expect("a file in its place");
    let config = ClientConfig { retry_for: Duration::from_millis(500), ..ClientConfig::new(&up.server) };
    let client = Client::connect(config).expect("an address");
    let mut uploader = client.upload(None).await.expect("opened");
    let id = uploader.upload().upload_id.clone();
    let object = content(9 * MIB);
    let refused = async {
        uploader.write(object.clone().into()).await?;
        uploader.finish().await
    };
    let error = refused.await.expect_err("nothing can be stored");
    assert_eq!(error.reason(), Some(hashmesh::error::Reason::UploadStoreFailed), "{error}");
    assert!(error.to_string().contains("store of uploads"), "{error}");

    fs::remove_file(&tenant).expect("it is there");
    let mut uploader = client.upload(Some(&id)).await.expect("it is still open");
    assert_eq!(uploader.offset(), 0, "nothing was stored");
    uploader.write(object.clone().into()).await.expect("written");
    let uploaded = uploader.finish().await.expect("completed");
    let read = outcome(&mut Gateway::connect(&up.server).await, &uploaded.uri).await.expect("accepted");
    assert_eq!(read.digests[0].hex, sha256_hex(&object), "{read:?}");
}

#[tokio::test]
async fn promise_7_a_part_that_is_gone_from_the_store_is_an_error_and_never_a_digest() {
    let up = Up::start("uploads-damaged", &[]).await;
    let mut gateway = Gateway::connect(&up.server).await;
    let uploaded = upload(&gateway, &content(20 * MIB)).await;
    let store = up.data_dir().join("uploads");
    let part = files(&store).into_iter().find(|path| path.to_string_lossy().ends_with("-00000001")).expect("a part");
    fs::remove_file(part).expect("it is there");
    let read = outcome(&mut gateway, &uploaded.uri).await.expect("accepted");
    assert_eq!((super::reason(&read), read.digests.len()), ("SOURCE_UNREADABLE", 0), "{read:?}");
}

#[tokio::test]
async fn a_gateway_that_stops_stores_what_it_was_given_and_says_that_it_stops() {
    let mut up = Up::start("uploads-draining", &[]).await;
    let gateway = Gateway::connect(&up.server).await;
    let (mut uploading, opened) = Uploading::open(&gateway, "", 0).await.expect("opened");
    uploading.data(content(MIB)).await;
    uploading.data(content(MIB)).await;
    let to_the_end = async {
        let mut stored = 0;
        loop {
            match uploading.next().await.expect("no error") {
                Some(super::Frame::Stored(upload)) => stored = upload.stored_bytes,
                Some(super::Frame::Draining(_)) => return stored,
                other => panic!("{other:?}"),
            }
        }
    };
    // However much of it had arrived by then.
    let (status, stored) = tokio::join!(up.terminate(), to_the_end);
    assert!(status.success(), "{status:?}");
    up.restart().await;
    let request = GetUploadRequest { upload_id: opened.upload_id };
    let found = Gateway::connect(&up.server).await.get_upload(request).await.expect("it is there").into_inner();
    assert_eq!(found.upload.expect("an upload").stored_bytes, stored);
}
