//! Workers that an administrator drains.

use hashmesh::{
    admin::v1::{ListAuditRequest, ListWorkersRequest, SetWorkerDrainingRequest},
    error::{Reason, reason},
    v1::{Scope, SubmissionState, WaitReason},
};

use super::batch;
use crate::support::{
    Guarded,
    wait::{PATIENCE, until},
};

#[tokio::test]
async fn a_drained_worker_gets_no_lease_until_it_is_resumed() {
    let mesh = Guarded::start("drained", &[]).await;
    let client = mesh.client(&mesh.key("waits", &[Scope::Submit, Scope::Read]).await);
    let mut admin = mesh.administration();
    let workers = admin.list_workers(ListWorkersRequest {}).await.expect("a list").into_inner().workers;
    let [worker] = &workers[..] else { panic!("{workers:?}") };
    assert!(!worker.draining);
    let set = |draining| SetWorkerDrainingRequest { worker_id: worker.worker_id.clone(), draining };
    let drained = admin.set_worker_draining(set(true)).await.expect("it is connected").into_inner().workers;
    assert!(drained.len() == 1 && drained[0].draining);

    let id = client.submit_batch(batch()).await.expect("accepted").submission.expect("it").submission_id;
    let waits = client.get_submission(&id).await.expect("it is there");
    assert_eq!((waits.wait_reason(), waits.recorded_tasks), (WaitReason::WaitingForWorker, 0));
    // Once more changes nothing.
    admin.set_worker_draining(set(true)).await.expect("it is connected");
    let resumed = admin.set_worker_draining(set(false)).await.expect("it is connected").into_inner().workers;
    assert!(!resumed[0].draining);
    until("the task to be done", PATIENCE, async || {
        let submission = client.get_submission(&id).await.expect("it is there");
        (submission.state() == SubmissionState::Completed).then_some(())
    })
    .await;

    let unknown = SetWorkerDrainingRequest { worker_id: "nobody".to_owned(), draining: true };
    let status = admin.set_worker_draining(unknown).await.expect_err("none of this name");
    assert_eq!(reason(&status), Some(Reason::WorkerNotFound));
    let audit = admin.list_audit(ListAuditRequest::default()).await.expect("a list").into_inner().entries;
    let actions = audit.iter().filter(|entry| entry.target == worker.worker_id).map(|entry| entry.action.as_str());
    assert_eq!(actions.collect::<Vec<_>>(), ["worker.resume", "worker.drain", "worker.drain"]);
}
