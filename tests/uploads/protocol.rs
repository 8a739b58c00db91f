//! `UploadObject` frame by frame: turns, offsets, writers, limits, tenants.

use hashmesh::{
    error::{Reason, reason},
    gateway::v1::{
        DeleteUploadRequest, GetCapabilitiesRequest, GetUploadRequest, OpenUpload,
        upload_object_request::Frame as Request,
    },
    limits::{MAX_OPEN_UPLOADS, MAX_UPLOAD_FRAME_BYTES, MAX_UPLOAD_RUNS, UPLOAD_PART_BYTES},
    tasks::upload_uri,
    v1::{Scope, UploadState},
};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::{
    support::{Database, Gateway, Guarded, Up, oracle::sha256_hex, shared},
    uploads::{Frame, MIB, Uploading, content, outcome, upload},
};

const PART: u64 = UPLOAD_PART_BYTES as u64;

fn assert_reason(status: &Status, wanted: Reason) {
    assert_eq!((status.code(), reason(status)), (wanted.code(), Some(wanted)), "{status:?}");
}

#[tokio::test]
async fn an_upload_begins_where_the_stored_bytes_end_and_nowhere_else() {
    let gateway = shared::gateway().await;
    let (mut first, opened) = Uploading::open(&gateway, "", 0).await.expect("opened");
    assert_eq!((opened.state(), opened.stored_bytes), (UploadState::Open, 0));
    let object = content(PART as usize + 100);
    for piece in object.chunks(2 * MIB) {
        first.data(piece.to_vec()).await;
    }
    first.half_close();
    // What is no whole part is stored at the end of a stream that was not cut.
    let stored = first.last().await.expect("no error").expect("stored");
    assert_eq!((stored.state(), stored.stored_bytes), (UploadState::Open, PART + 100));

    let id = opened.upload_id.as_str();
    for offset in [0, PART, PART + 99, PART + 101, u64::MAX] {
        let status = Uploading::open(&gateway, id, offset).await.err().expect("refused");
        assert_reason(&status, Reason::UploadOffset);
        let info = status.get_details_error_info().expect("an ErrorInfo");
        assert_eq!(info.metadata["stored_bytes"], (PART + 100).to_string());
    }
    let (mut second, _) = Uploading::open(&gateway, id, PART + 100).await.expect("opened");
    second.data(content(50)).await;
    for wrong in [PART + 149, PART + 151] {
        second.finish(wrong).await;
        assert_reason(&second.last().await.expect_err("refused"), Reason::UploadOffset);
        (second, _) = Uploading::open(&gateway, id, PART + 150).await.expect("what came was stored");
    }
    second.finish(PART + 150).await;
    let completed = second.last().await.expect("no error").expect("completed");
    assert_eq!((completed.state(), completed.stored_bytes), (UploadState::Complete, PART + 150));
    assert!(completed.complete_time.is_some() && completed.expire_time.is_some());
    let whole = [object, content(50)].concat();
    let read = outcome(&mut gateway.clone(), &completed.uri).await.expect("accepted");
    assert_eq!(read.digests[0].hex, sha256_hex(&whole), "{read:?}");
}

#[tokio::test]
async fn a_complete_upload_may_be_finished_again_and_takes_no_bytes() {
    let mut gateway = shared::gateway().await;
    for length in [0, 1, PART as usize, PART as usize + 1] {
        let object = content(length);
        let uploaded = upload(&gateway, &object).await;
        let (mut again, opened) = Uploading::open(&gateway, &uploaded.upload_id, length as u64).await.expect("opened");
        assert_eq!(opened, uploaded);
        again.finish(length as u64).await;
        assert_eq!(again.last().await.expect("no error"), Some(uploaded.clone()));
        let (mut more, _) = Uploading::open(&gateway, &uploaded.upload_id, length as u64).await.expect("opened");
        more.data("x").await;
        assert_reason(&more.last().await.expect_err("refused"), Reason::UploadComplete);
        let read = outcome(&mut gateway, &uploaded.uri).await.expect("accepted");
        assert_eq!(read.digests[0].hex, sha256_hex(&object), "{read:?}");
    }
}

#[tokio::test]
async fn of_two_writers_the_first_is_told_and_nothing_of_it_counts_any_more() {
    let mut gateway = shared::gateway().await;
    let (mut first, opened) = Uploading::open(&gateway, "", 0).await.expect("opened");
    first.data(vec![1; 3 * MIB]).await;
    let (mut second, _) = Uploading::open(&gateway, &opened.upload_id, 0).await.expect("opened");
    let object = content(9 * MIB);
    for piece in object.chunks(MIB) {
        second.data(piece.to_vec()).await;
    }
    // The first has a whole part now, too late.
    for _ in 0..3 {
        first.data(vec![1; 3 * MIB]).await;
    }
    assert_reason(&first.last().await.expect_err("replaced"), Reason::WriterReplaced);
    second.finish(object.len() as u64).await;
    let completed = second.last().await.expect("no error").expect("completed");
    let read = outcome(&mut gateway, &completed.uri).await.expect("accepted");
    assert_eq!(read.digests[0].hex, sha256_hex(&object), "{read:?}");
}

#[tokio::test]
async fn frames_out_of_turn_are_refused() {
    let gateway = shared::gateway().await;
    let open = || Request::Open(OpenUpload::default());
    for frames in [vec![Request::Data("x".into())], vec![open(), open()], vec![]] {
        let mut uploading = Uploading::start(&gateway).await.expect("begun");
        for frame in frames {
            uploading.send(frame).await;
        }
        uploading.half_close();
        let status = loop {
            match uploading.next().await {
                Ok(Some(Frame::Opened(_))) => {}
                Ok(other) => panic!("{other:?}"),
                Err(status) => break status,
            }
        };
        assert_reason(&status, Reason::ProtocolViolation);
    }
    for (id, offset, field) in [("x", 0, "open.upload_id"), ("", 1, "open.offset")] {
        let status = Uploading::open(&gateway, id, offset).await.err().expect("refused");
        assert_reason(&status, Reason::InvalidArgument);
        assert_eq!(status.get_details_bad_request().expect("details").field_violations[0].field, field);
    }
    let unknown = "0123456789abcdef0123456789abcdef";
    assert_reason(&Uploading::open(&gateway, unknown, 0).await.err().expect("refused"), Reason::UploadNotFound);
}

#[tokio::test]
async fn a_task_that_names_an_upload_before_it_is_complete_fails() {
    let mut gateway = shared::gateway().await;
    let (_uploading, opened) = Uploading::open(&gateway, "", 0).await.expect("opened");
    let read = outcome(&mut gateway, &opened.uri).await.expect("accepted");
    assert_eq!(super::reason(&read), "SOURCE_NOT_FOUND", "{read:?}");
}

#[tokio::test]
async fn frames_and_uploads_have_their_limits_on_both_sides() {
    let up = Up::start("uploads-limits", &["--upload-max-bytes", "10000000"]).await;
    let mut gateway = Gateway::connect(&up.server).await;
    let capabilities = gateway.get_capabilities(GetCapabilitiesRequest {}).await.expect("an answer").into_inner();
    let announced = capabilities.uploads.expect("it takes uploads");
    assert_eq!((announced.max_upload_bytes, announced.max_frame_bytes), (10_000_000, MAX_UPLOAD_FRAME_BYTES));
    assert_eq!((announced.part_bytes, announced.max_open_uploads), (UPLOAD_PART_BYTES, MAX_OPEN_UPLOADS));

    let (mut frames, _) = Uploading::open(&gateway, "", 0).await.expect("opened");
    frames.data(vec![0; MAX_UPLOAD_FRAME_BYTES as usize]).await;
    frames.finish(u64::from(MAX_UPLOAD_FRAME_BYTES)).await;
    assert_eq!(frames.last().await.expect("no error").expect("completed").state(), UploadState::Complete);
    let (mut frames, _) = Uploading::open(&gateway, "", 0).await.expect("opened");
    frames.data(vec![0; MAX_UPLOAD_FRAME_BYTES as usize + 1]).await;
    let status = frames.last().await.expect_err("too large");
    assert_reason(&status, Reason::InvalidArgument);
    assert_eq!(status.get_details_bad_request().expect("details").field_violations[0].field, "data");

    let most = content(10_000_000);
    assert_eq!(upload(&gateway, &most).await.stored_bytes, 10_000_000);
    let (mut large, _) = Uploading::open(&gateway, "", 0).await.expect("opened");
    for piece in most.chunks(MIB) {
        large.data(piece.to_vec()).await;
    }
    large.data("x").await;
    assert_reason(&large.last().await.expect_err("too large"), Reason::UploadTooLarge);
}

#[tokio::test]
async fn an_upload_comes_over_as_many_connections_as_its_layout_may_name_and_no_more() {
    let gateway = shared::gateway().await;
    let (_uploading, opened) = Uploading::open(&gateway, "", 0).await.expect("opened");
    let id = opened.upload_id;
    let database = Database::of_url(shared::up().await.database_url()).client().await;
    let stored = async |from: i32, to: i32| {
        let sql = "INSERT INTO upload_runs (upload_id, writer, bytes) \
                   SELECT $1::text::uuid, 10 + n, 1 FROM generate_series($2::int, $3::int) AS n";
        database.execute(sql, &[&id, &from, &to]).await.expect("inserted");
    };
    stored(1, MAX_UPLOAD_RUNS as i32 - 1).await;
    Uploading::open(&gateway, &id, 0).await.expect("one more");
    stored(MAX_UPLOAD_RUNS as i32, MAX_UPLOAD_RUNS as i32).await;
    assert_reason(&Uploading::open(&gateway, &id, 0).await.err().expect("too many"), Reason::UploadTooLarge);
}

#[tokio::test]
async fn a_tenant_has_as_many_open_uploads_as_it_may_and_no_more() {
    let mesh = Guarded::shared().await;
    let (full, other) =
        (mesh.key("full", &[Scope::Submit, Scope::Read]).await, mesh.key("free", &[Scope::Submit]).await);
    let client = mesh.client(&full);
    let mut last = String::new();
    for _ in 0..MAX_OPEN_UPLOADS {
        last = client.upload(None).await.expect("opened").upload().upload_id.clone();
    }
    let error = client.upload(None).await.expect_err("one too many");
    assert_eq!((error.code(), error.reason()), (Code::ResourceExhausted, Some(Reason::TooManyUploads)));
    mesh.client(&other).upload(None).await.expect("it is another tenant's limit");
    client.upload(Some(&last)).await.expect("going on is no new one");
    client.delete_upload(&last).await.expect("deleted");
    let uploader = client.upload(None).await.expect("there is room again");
    uploader.finish().await.expect("completed");
    client.upload(None).await.expect("a complete one is not open");
}

#[tokio::test]
async fn promise_10_anothers_upload_is_unknown_to_every_rpc_and_to_every_task() {
    let mesh = Guarded::shared().await;
    let all = [Scope::Submit, Scope::Read];
    let (owner, other) = (mesh.key("uploader", &all).await, mesh.key("uploader.2", &all).await);
    let mut uploader = mesh.client(&owner).upload(None).await.expect("opened");
    uploader.write("secret".into()).await.expect("written");
    let secret = uploader.finish().await.expect("completed");
    let id = secret.upload_id.clone();
    assert_eq!(secret.uri, upload_uri("uploader", &id));
    let stranger = mesh.client(&other);
    let never = "0123456789abcdef0123456789abcdef";
    for id in [id.as_str(), never] {
        let upload_id = id.to_owned();
        let get = stranger.gateway().get_upload(GetUploadRequest { upload_id: upload_id.clone() }).await;
        let delete = stranger.gateway().delete_upload(DeleteUploadRequest { upload_id }).await;
        let texts: Vec<String> =
            [get.expect_err("unknown"), delete.expect_err("unknown")].map(|status| status.message().to_owned()).into();
        assert_eq!(texts[0], texts[1]);
        let error = stranger.upload(Some(id)).await.expect_err("unknown");
        assert_eq!(error.reason(), Some(Reason::UploadNotFound), "{error}");
    }
    // By its URI, in every way in which tasks come.
    for uri in [secret.uri.as_str(), &upload_uri("uploader", never)] {
        let mut gateway = stranger.gateway();
        let status = gateway.submit_batch(super::naming(uri)).await.expect_err("refused");
        assert_reason(&status, Reason::UploadNotFound);
        assert!(!status.message().contains("uploader"), "{status:?}");
    }
    // Under their own name there is no such upload.
    let error = super::outcome_of(&mut stranger.gateway(), &upload_uri("uploader.2", &id)).await.expect("accepted");
    assert_eq!(super::reason(&error), "SOURCE_NOT_FOUND", "{error:?}");
    let read = super::outcome_of(&mut mesh.client(&owner).gateway(), &secret.uri).await.expect("accepted");
    assert_eq!(read.digests[0].hex, sha256_hex(b"secret"));
}
