//! Every RPC that the descriptors list, called by whoever may not.

use bytes::Bytes;
use hashmesh::{
    admin::v1::RevokeKeyRequest,
    error::{Reason, reason},
    gateway::v1::{
        AppendBatchRequest, Batch, CancelSubmissionRequest, GetSubmissionRequest, ListResultsRequest, OpenSubmission,
        RetryTasksRequest, SealSubmissionRequest, StreamResultsRequest, SubmitTasksRequest, WatchSubmissionRequest,
        submit_tasks_request::Frame,
    },
    keys::KeyText,
    v1::{Scope, SubmissionOptions},
};
use prost::Message as _;
use tonic::Code;

use crate::support::{Guarded, any_rpc, raw::packed};

const PUBLIC: [&str; 2] = ["hashmesh.gateway.v1", "hashmesh.admin.v1"];

/// The scope that a method needs, written down a second time. A new RPC without a line here fails the test.
fn needed(path: &str) -> Option<Scope> {
    let (service, method) = path.rsplit_once('/').expect("a path");
    if service == "/hashmesh.admin.v1.AdminService" {
        return Some(Scope::Admin);
    }
    match method {
        "SubmitTasks"
        | "CreateSubmission"
        | "AppendBatch"
        | "SealSubmission"
        | "SubmitBatch"
        | "CancelSubmission"
        | "RetryTasks"
        | "CreateSchedule"
        | "DeleteSchedule"
        | "PauseWork"
        | "ResumeWork"
        | "SetTenantLimits"
        | "ComputeDigest"
        | "ComputeDigestStream"
        | "UploadObject"
        | "DeleteUpload"
        | "InvalidateCache"
        | "WarmCache" => Some(Scope::Submit),
        "GetSubmission" | "ListSubmissions" | "WatchSubmission" | "ListResults" | "StreamResults" | "GetControls"
        | "GetStats" | "GetUpload" | "GetSchedule" | "ListSchedules" => Some(Scope::Read),
        "GetCapabilities" => None,
        _ => panic!("{path} is new: say here which scope it needs"),
    }
}

/// A message that names a submission, for every method that can; `None`: the method names none.
fn about(method: &str, id: &str) -> Option<Bytes> {
    let submission_id = id.to_owned();
    let message = match method {
        "SubmitTasks" => {
            let open = OpenSubmission { submission_id, ..Default::default() };
            SubmitTasksRequest { frame: Some(Frame::Open(open)) }.encode_to_vec()
        }
        "AppendBatch" => {
            let batch = Batch { sequence: 0, tasks: Some(packed(["input"])), ..Batch::default() };
            AppendBatchRequest { submission_id, batch: Some(batch) }.encode_to_vec()
        }
        "SealSubmission" => SealSubmissionRequest { submission_id, batch_count: 0 }.encode_to_vec(),
        "GetSubmission" => GetSubmissionRequest { submission_id }.encode_to_vec(),
        "WatchSubmission" => WatchSubmissionRequest { submission_id }.encode_to_vec(),
        "CancelSubmission" => CancelSubmissionRequest { submission_id }.encode_to_vec(),
        "ListResults" => ListResultsRequest { submission_id, ..Default::default() }.encode_to_vec(),
        "StreamResults" => StreamResultsRequest { submission_id, ..Default::default() }.encode_to_vec(),
        "RetryTasks" => RetryTasksRequest { submission_id, ..Default::default() }.encode_to_vec(),
        "CreateSubmission"
        | "SubmitBatch"
        | "ListSubmissions"
        // Schedules have names of their tenant: tests/schedules.rs.
        | "CreateSchedule"
        | "GetSchedule"
        | "ListSchedules"
        | "DeleteSchedule"
        | "PauseWork"
        | "ResumeWork"
        | "SetTenantLimits"
        | "GetControls"
        | "GetStats"
        | "GetCapabilities"
        | "ComputeDigest"
        | "ComputeDigestStream"
        | "UploadObject"
        | "GetUpload"
        | "DeleteUpload"
        | "InvalidateCache"
        | "WarmCache" => return None,
        _ => panic!("{method} is new: say here how it names a submission, or that it names none"),
    };
    Some(message.into())
}

#[tokio::test]
async fn promise_10_no_rpc_answers_without_a_key_that_is_good_for_it() {
    let mesh = Guarded::shared().await;
    let channel = mesh.channel().await;
    let of_scope = [
        (Scope::Submit, mesh.key("every", &[Scope::Submit]).await),
        (Scope::Read, mesh.key("every", &[Scope::Read]).await),
        (Scope::Admin, mesh.key("every", &[Scope::Admin]).await),
    ];
    let unknown = KeyText::mint();
    let revoked = mesh.key("every", &[Scope::Submit, Scope::Read, Scope::Admin]).await;
    let request = RevokeKeyRequest { key_id: revoked.id().to_owned() };
    // Before any Gateway has seen it.
    mesh.administration().revoke_key(request).await.expect("revoked");
    let wrong_secret = KeyText::of(of_scope[0].1.id());
    let methods = any_rpc::methods(&PUBLIC);
    assert!(methods.len() > 20);
    for (path, _) in &methods {
        let call = async |key: Option<&str>| any_rpc::call(&channel, path, key, Bytes::new()).await;
        let refused = |answer: Result<Option<Bytes>, tonic::Status>, wanted: Reason| {
            let status = answer.expect_err(path);
            assert_eq!(reason(&status), Some(wanted), "{path}: {status:?}");
            status
        };
        assert_eq!(refused(call(None).await, Reason::KeyMissing).code(), Code::Unauthenticated);
        for key in [unknown.reveal(), revoked.reveal(), wrong_secret.reveal(), "hm_", &unknown.reveal()[..70]] {
            assert_eq!(refused(call(Some(key)).await, Reason::KeyInvalid).code(), Code::Unauthenticated);
        }
        for (scope, key) in &of_scope {
            let answer = call(Some(key.reveal())).await;
            match needed(path) {
                Some(needed) if needed != *scope => {
                    assert_eq!(refused(answer, Reason::ScopeMissing).code(), Code::PermissionDenied);
                }
                // Whatever it says, it is let through: an empty message is not always a good one.
                _ => {
                    let reason = answer.as_ref().err().and_then(reason);
                    let stopped = [Reason::KeyMissing, Reason::KeyInvalid, Reason::ScopeMissing];
                    assert!(!reason.is_some_and(|reason| stopped.contains(&reason)), "{path}: {answer:?}");
                }
            }
        }
    }
}

#[tokio::test]
async fn promise_10_anothers_submission_is_unknown_to_every_rpc_that_names_one() {
    let mesh = Guarded::shared().await;
    let channel = mesh.channel().await;
    let all = [Scope::Submit, Scope::Read];
    let (owner, other) = (mesh.key("owner", &all).await, mesh.key("other", &all).await);
    let opened = mesh.client(&owner).create_submission(SubmissionOptions::default(), None).await.expect("one");
    let id = opened.submission_id;
    let mut asked = 0;
    for (path, method) in any_rpc::methods(&["hashmesh.gateway.v1"]) {
        let Some(message) = about(method.name(), &id) else { continue };
        let status = any_rpc::call(&channel, &path, Some(other.reveal()), message).await.expect_err(&path);
        assert_eq!(reason(&status), Some(Reason::SubmissionNotFound), "{path}: {status:?}");
        // No different from one that never was.
        let message = about(method.name(), "01890a5d-ac96-774b-bcce-b302099a8057").expect("as above");
        let of_none = any_rpc::call(&channel, &path, Some(other.reveal()), message).await.expect_err(&path);
        assert_eq!((status.code(), status.message()), (of_none.code(), of_none.message()), "{path}");
        asked += 1;
    }
    assert_eq!(asked, 9);
    // It was not touched, and is its owner's.
    let found = mesh.client(&owner).get_submission(&id).await.expect("its own");
    assert_eq!((found.accepted_tasks, found.state()), (0, hashmesh::v1::SubmissionState::Open));
    let listed = mesh.client(&other).list_submissions(Default::default()).await.expect("a list");
    assert!(listed.submissions.is_empty());
}
