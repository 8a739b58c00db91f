//! Every RPC that the descriptors list, called too late and with too much.
//!
//! What holds for a deadline (`proto/hashmesh/gateway/v1/gateway.proto`): a call whose `grpc-timeout` has passed is answered
//! DEADLINE_EXCEEDED, by us and never CANCELLED: one that came too late, one whose message trickles in, and a stream that
//! was open for long.

use std::time::{Duration, Instant};

use bytes::Bytes;
use hashmesh::{
    admin::v1 as admin,
    error::{Reason, reason},
    gateway::v1::{self as api, submit_tasks_request::Frame},
    limits::{
        MAX_BATCH_BYTES, MAX_BATCH_TASKS, MAX_BATCHES, MAX_DECODED_MESSAGE_BYTES, MAX_IDEMPOTENCY_KEY_BYTES,
        MAX_LEASED_TASKS, MAX_RESULTS_PAGE, MAX_SUBMISSIONS_PAGE,
    },
    v1::{Scope, SubmissionOptions},
};
use prost::Message;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::support::{
    Guarded, any_rpc,
    raw::{assert_refused, packed},
    wait::soon,
    wire::{Wire, framed},
};

const PUBLIC: [&str; 2] = ["hashmesh.gateway.v1", "hashmesh.admin.v1"];
const CAPABILITIES: &str = "/hashmesh.gateway.v1.GatewayService/GetCapabilities";
/// Long enough for a call to arrive, and to be waited for in full by each method.
const SHORT: &str = "200m";
const SHORT_TIME: Duration = Duration::from_millis(200);

/// A connection, and the header of a key that may do everything.
async fn everything(mesh: &Guarded) -> (Wire, String) {
    let key = mesh.key("bounds", &[Scope::Submit, Scope::Read, Scope::Admin]).await;
    (Wire::connect(&mesh.up.server).await, format!("Bearer {}", key.reveal()))
}

fn assert_exceeded(path: &str, answer: Result<Bytes, Status>) {
    let status = answer.expect_err(path);
    assert_eq!(status.code(), Code::DeadlineExceeded, "{path}: {status:?}");
    assert_refused(&status, Reason::DeadlineExceeded);
}

#[tokio::test]
async fn every_rpc_that_comes_too_late_is_told_so() {
    let mesh = Guarded::shared().await;
    let (wire, key) = everything(mesh).await;
    for (path, _) in any_rpc::methods(&PUBLIC) {
        let answer = wire.call(&path, &[("authorization", &key), ("grpc-timeout", "1n")], &[]).await;
        assert_exceeded(&path, answer);
    }
    wire.call(CAPABILITIES, &[("authorization", &key)], &[]).await.expect("the connection goes on");
}

#[tokio::test]
async fn every_rpc_whose_message_trickles_in_ends_at_its_deadline() {
    let mesh = Guarded::shared().await;
    let (wire, key) = everything(mesh).await;
    let headers = [("authorization", key.as_str()), ("grpc-timeout", SHORT)];
    let began = Instant::now();
    let mut calls = Vec::new();
    for (path, _) in any_rpc::methods(&PUBLIC) {
        let mut call = wire.begin(&path, &headers).await.expect("the connection goes on");
        // Not even the whole of the length before the message; and no end.
        call.body.send_data(Bytes::from_static(&[0, 0, 0]), false).expect("it is open");
        calls.push((path, call));
    }
    for (path, call) in calls {
        assert_exceeded(&path, call.answer().await);
        assert!(began.elapsed() >= SHORT_TIME, "{path}: after {:?}", began.elapsed());
    }
    wire.call(CAPABILITIES, &[("authorization", &key)], &[]).await.expect("the connection goes on");
}

/// A message that opens a stream which would go on for ever.
fn endless(path: &str, id: &str) -> Bytes {
    let submission_id = id.to_owned();
    let message = match path.rsplit_once('/').expect("a path").1 {
        "SubmitTasks" => {
            // A new one: of two streams to one submission, the first ends.
            let frame = Some(Frame::Open(api::OpenSubmission::default()));
            api::SubmitTasksRequest { frame }.encode_to_vec()
        }
        "WatchSubmission" => api::WatchSubmissionRequest { submission_id }.encode_to_vec(),
        "StreamResults" => {
            api::StreamResultsRequest { submission_id, follow: true, ..Default::default() }.encode_to_vec()
        }
        "ComputeDigestStream" => {
            api::ComputeDigestStreamRequest { data: "a".into(), ..Default::default() }.encode_to_vec()
        }
        "UploadObject" => {
            let frame = Some(api::upload_object_request::Frame::Open(api::OpenUpload::default()));
            api::UploadObjectRequest { frame }.encode_to_vec()
        }
        _ => panic!("{path} is new: say here what keeps it open"),
    };
    message.into()
}

#[tokio::test]
async fn every_stream_ends_at_its_deadline_and_one_without_goes_on() {
    let mesh = Guarded::shared().await;
    let key = mesh.key("streams", &[Scope::Submit, Scope::Read]).await;
    let opened = mesh.client(&key).create_submission(SubmissionOptions::default(), None).await.expect("one");
    let wire = Wire::connect(&mesh.up.server).await;
    let key = format!("Bearer {}", key.reveal());
    let streams = any_rpc::methods(&PUBLIC);
    let streams = streams.into_iter().filter(|(_, method)| method.client_streaming() || method.server_streaming());
    let mut seen = 0;
    for (path, _) in streams {
        let message = endless(&path, &opened.submission_id);
        let begin = async |headers: &[(&'static str, &str)]| {
            let mut call = wire.begin(&path, headers).await.expect("the connection goes on");
            call.body.send_data(framed(&message), false).expect("it is open");
            call
        };
        let unbounded = begin(&[("authorization", &key)]).await;
        let began = Instant::now();
        let bounded = begin(&[("authorization", &key), ("grpc-timeout", SHORT)]).await;
        assert_exceeded(&path, bounded.answer().await);
        assert!(began.elapsed() >= SHORT_TIME, "{path}: after {:?}", began.elapsed());
        let ended = tokio::time::timeout(Duration::ZERO, unbounded.answer()).await;
        assert!(ended.is_err(), "{path} ended although nobody wanted it: {ended:?}");
        seen += 1;
    }
    assert_eq!(seen, 5);
}

#[tokio::test]
async fn every_rpc_refuses_a_message_above_the_limit_and_the_connection_goes_on() {
    let mesh = Guarded::shared().await;
    let (wire, key) = everything(mesh).await;
    let headers = [("authorization", key.as_str())];
    let large = vec![0; MAX_DECODED_MESSAGE_BYTES + 1];
    // It is refused by its length, of which one byte too much is as good as the most that can be said.
    let said = [&[0][..], &u32::MAX.to_be_bytes()].concat();
    for (path, method) in any_rpc::methods(&PUBLIC) {
        let wanted = if method.client_streaming() { Reason::ProtocolViolation } else { Reason::InvalidArgument };
        for body in [framed(&large), said.clone().into()] {
            let mut call = wire.begin(&path, &headers).await.expect("the connection goes on");
            call.body.send_data(body, false).expect("it is open");
            let status = call.answer().await.expect_err(&path);
            assert_eq!((status.code(), reason(&status)), (Code::InvalidArgument, Some(wanted)), "{path}: {status:?}");
        }
        wire.call(CAPABILITIES, &headers, &[]).await.expect("the connection goes on");
    }
}

/// A message with a field above its limit, and the path that the error must name. `None`: it has no such field.
fn too_much(path: &str) -> Option<(Vec<u8>, &'static str)> {
    let long = |limit: usize| "a".repeat(limit + 1);
    let tasks = || packed(vec!["a"; MAX_BATCH_TASKS as usize + 1]);
    let data = || vec![0; MAX_BATCH_BYTES as usize + 1].into();
    let key = long(MAX_IDEMPOTENCY_KEY_BYTES);
    let id = || "01890a5d-ac96-774b-bcce-b302099a8057".to_owned();
    let submission_id = format!("{}0", id());
    Some(match path.rsplit_once('/').expect("a path").1 {
        "SubmitTasks" => {
            let open = api::OpenSubmission { idempotency_key: key, ..Default::default() };
            (api::SubmitTasksRequest { frame: Some(Frame::Open(open)) }.encode_to_vec(), "open.idempotency_key")
        }
        "CreateSubmission" => {
            let request = api::CreateSubmissionRequest { idempotency_key: key, ..Default::default() };
            (request.encode_to_vec(), "idempotency_key")
        }
        "AppendBatch" => {
            let batch = Some(api::Batch { sequence: 0, tasks: Some(tasks()), ..api::Batch::default() });
            (api::AppendBatchRequest { submission_id: id(), batch }.encode_to_vec(), "batch.columns.lengths")
        }
        "SealSubmission" => {
            let request = api::SealSubmissionRequest { submission_id: id(), batch_count: MAX_BATCHES + 1 };
            (request.encode_to_vec(), "batch_count")
        }
        "SubmitBatch" => {
            let request = api::SubmitBatchRequest { idempotency_key: key, ..Default::default() };
            (request.encode_to_vec(), "idempotency_key")
        }
        "GetSubmission" => (api::GetSubmissionRequest { submission_id }.encode_to_vec(), "submission_id"),
        "ListSubmissions" => {
            let request = api::ListSubmissionsRequest { page_size: MAX_SUBMISSIONS_PAGE + 1, ..Default::default() };
            (request.encode_to_vec(), "page_size")
        }
        "WatchSubmission" => (api::WatchSubmissionRequest { submission_id }.encode_to_vec(), "submission_id"),
        "CancelSubmission" => (api::CancelSubmissionRequest { submission_id }.encode_to_vec(), "submission_id"),
        "ListResults" => {
            let page_size = MAX_RESULTS_PAGE + 1;
            let request = api::ListResultsRequest { submission_id: id(), page_size, ..Default::default() };
            (request.encode_to_vec(), "page_size")
        }
        "StreamResults" => {
            let request =
                api::StreamResultsRequest { submission_id: id(), after_position: u64::MAX, ..Default::default() };
            (request.encode_to_vec(), "after_position")
        }
        "RetryTasks" => {
            let request = api::RetryTasksRequest { submission_id: id(), idempotency_key: key };
            (request.encode_to_vec(), "idempotency_key")
        }
        "CreateSchedule" => {
            (api::CreateScheduleRequest { name: long(63), ..Default::default() }.encode_to_vec(), "name")
        }
        "GetSchedule" => (api::GetScheduleRequest { name: long(63) }.encode_to_vec(), "name"),
        "DeleteSchedule" => (api::DeleteScheduleRequest { name: long(63) }.encode_to_vec(), "name"),
        "SetTenantLimits" => {
            let request = api::SetTenantLimitsRequest { max_leased_tasks: MAX_LEASED_TASKS + 1 };
            (request.encode_to_vec(), "max_leased_tasks")
        }
        "ComputeDigest" => (api::ComputeDigestRequest { data: data(), ..Default::default() }.encode_to_vec(), "data"),
        "ComputeDigestStream" => {
            (api::ComputeDigestStreamRequest { data: data(), ..Default::default() }.encode_to_vec(), "data")
        }
        "UploadObject" => {
            let open = api::OpenUpload { upload_id: long(32), offset: 0 };
            let frame = Some(api::upload_object_request::Frame::Open(open));
            (api::UploadObjectRequest { frame }.encode_to_vec(), "open.upload_id")
        }
        "GetUpload" => (api::GetUploadRequest { upload_id: long(32) }.encode_to_vec(), "upload_id"),
        "DeleteUpload" => (api::DeleteUploadRequest { upload_id: long(32) }.encode_to_vec(), "upload_id"),
        "CreateKey" => {
            let (tenant, scopes) = ("bounds".to_owned(), vec![Scope::Read.into()]);
            let request = admin::CreateKeyRequest { tenant, scopes, description: long(255), ..Default::default() };
            (request.encode_to_vec(), "description")
        }
        "ListKeys" => (admin::ListKeysRequest { page_size: 1_001, ..Default::default() }.encode_to_vec(), "page_size"),
        "SetWorkerDraining" => {
            let request = admin::SetWorkerDrainingRequest { worker_id: long(255), draining: true };
            (request.encode_to_vec(), "worker_id")
        }
        "SetKeyLimits" => {
            let key_id = "0123456789abcdef".to_owned();
            let request = admin::SetKeyLimitsRequest { key_id, calls_per_minute: Some(1_000_000_001) };
            (request.encode_to_vec(), "calls_per_minute")
        }
        "RotateKey" => {
            let keep_previous = Some(prost_types::Duration { seconds: 31 * 86_400, nanos: 0 });
            (admin::RotateKeyRequest { keep_previous, ..Default::default() }.encode_to_vec(), "keep_previous")
        }
        "RevokeKey" => (admin::RevokeKeyRequest { key_id: long(16) }.encode_to_vec(), "key_id"),
        "SetTenantControls" => {
            (admin::SetTenantControlsRequest { tenant: long(63), ..Default::default() }.encode_to_vec(), "tenant")
        }
        "GetTenantControls" => (admin::GetTenantControlsRequest { tenant: long(63) }.encode_to_vec(), "tenant"),
        "ListAudit" => {
            (admin::ListAuditRequest { page_size: 1_001, ..Default::default() }.encode_to_vec(), "page_size")
        }
        "InvalidateCache" => (api::InvalidateCacheRequest { uri: long(8_192), prefix: true }.encode_to_vec(), "uri"),
        "WarmCache" => (api::WarmCacheRequest { max_entries: 100_001 }.encode_to_vec(), "max_entries"),
        "PauseWork" | "ResumeWork" | "GetControls" | "GetCapabilities" | "GetStats" | "ListWorkers"
        | "ListSchedules" => {
            return None;
        }
        _ => panic!("{path} is new: say here which of its fields has a limit, or that none has"),
    })
}

#[tokio::test]
async fn every_rpc_names_the_field_that_is_above_its_limit() {
    let mesh = Guarded::shared().await;
    let (wire, key) = everything(mesh).await;
    let headers = [("authorization", key.as_str())];
    for (path, _) in any_rpc::methods(&PUBLIC) {
        let Some((message, field)) = too_much(&path) else { continue };
        let status = soon(&path, wire.call(&path, &headers, &message)).await.expect_err(&path);
        assert_refused(&status, Reason::InvalidArgument);
        let bad = status.get_details_bad_request().expect("it says what is wrong");
        let fields: Vec<&str> = bad.field_violations.iter().map(|violation| &*violation.field).collect();
        assert_eq!(fields, [field], "{path}: {status:?}");
    }
    wire.call(CAPABILITIES, &headers, &[]).await.expect("the connection goes on");
}
