//! How uploads end: deleted, or expired.

use std::time::Duration;

use hashmesh::{
    error::Reason,
    gateway::v1::{DeleteUploadRequest, GetUploadRequest},
};
use tonic::Code;

use crate::{
    support::{
        Database, Gateway, Up,
        oracle::sha256_hex,
        wait::{PATIENCE, until},
    },
    uploads::{MIB, Uploading, content, files, outcome, upload},
};

#[tokio::test]
async fn an_upload_expires_open_or_complete_after_its_last_bytes_and_its_bytes_go_with_it() {
    let up = Up::start("uploads-expiry", &["--upload-retention", "3s"]).await;
    let mut gateway = Gateway::connect(&up.server).await;
    let object = content(9 * MIB);
    let uploaded = upload(&gateway, &object).await;
    let read = outcome(&mut gateway, &uploaded.uri).await.expect("accepted");
    assert_eq!(read.digests[0].hex, sha256_hex(&object), "{read:?}");
    let (mut open, opened) = Uploading::open(&gateway, "", 0).await.expect("opened");
    open.data(content(9 * MIB)[..3 * MIB].to_vec()).await;
    open.half_close();
    open.last().await.expect("no error").expect("stored");
    let store = up.data_dir().join("uploads");
    assert!(files(&store).len() >= 3);
    for id in [&uploaded.upload_id, &opened.upload_id] {
        until("it to expire", PATIENCE, async || {
            let found = gateway.clone().get_upload(GetUploadRequest { upload_id: id.clone() }).await;
            found.is_err_and(|status| status.code() == Code::NotFound).then_some(())
        })
        .await;
    }
    until("the bytes to be deleted", PATIENCE, async || files(&store).is_empty().then_some(())).await;
    let status = Uploading::open(&gateway, &opened.upload_id, 3 * MIB as u64).await.err().expect("refused");
    assert_eq!(hashmesh::error::reason(&status), Some(Reason::UploadNotFound));
    let read = outcome(&mut gateway, &uploaded.uri).await.expect("accepted");
    assert_eq!(super::reason(&read), "SOURCE_NOT_FOUND", "{read:?}");
}

#[tokio::test]
async fn an_upload_that_is_deleted_while_it_is_read_has_its_digest_or_none() {
    let up = Up::start("uploads-deleted", &[]).await;
    let gateway = Gateway::connect(&up.server).await;
    let object = content(40 * MIB);
    let wanted = sha256_hex(&object);
    for _ in 0..3 {
        let uploaded = upload(&gateway, &object).await;
        let mut reader = gateway.clone();
        let uri = uploaded.uri.clone();
        let reading = tokio::spawn(async move { outcome(&mut reader, &uri).await.expect("accepted") });
        let request = DeleteUploadRequest { upload_id: uploaded.upload_id };
        gateway.clone().delete_upload(request).await.expect("deleted");
        let read = reading.await.expect("it ends");
        match super::reason(&read) {
            "" => assert_eq!(read.digests[0].hex, wanted),
            reason => assert_eq!((reason, read.digests.len()), ("SOURCE_NOT_FOUND", 0), "{read:?}"),
        }
    }
}

#[tokio::test]
async fn what_was_deleted_is_forgotten_once_nothing_can_be_on_its_way_to_it() {
    let up = Up::start("uploads-forgotten", &["--upload-retention", "1h"]).await;
    let gateway = Gateway::connect(&up.server).await;
    let uploaded = upload(&gateway, b"x").await;
    let request = DeleteUploadRequest { upload_id: uploaded.upload_id.clone() };
    gateway.clone().delete_upload(request).await.expect("deleted");
    let database = Database::of_url(up.database_url());
    let rows = async || -> i64 {
        database.client().await.query_one("SELECT count(*) FROM uploads", &[]).await.unwrap().get(0)
    };
    assert_eq!(rows().await, 1, "what is on its way must find that it was deleted");
    let store = up.data_dir().join("uploads");
    until("the bytes to be deleted", PATIENCE, async || files(&store).is_empty().then_some(())).await;
    // A part that came late, and time that passes.
    let late = store.join("default").join(&uploaded.upload_id);
    std::fs::create_dir_all(&late).expect("a directory");
    std::fs::write(late.join("00000001-00000000"), "late").expect("a file");
    let sql = "UPDATE uploads SET deleted_at = deleted_at - interval '11 minutes'";
    database.client().await.execute(sql, &[]).await.expect("it is there");
    until("it to be forgotten", Duration::from_secs(90), async || (rows().await == 0).then_some(())).await;
    assert!(files(&store).is_empty());
}
