//! The public protocol through a Gateway: every limit, every wrong turn, every defined answer.
//!
//! All but the tests of memory share one mesh, which has to be alive and well after each of them.

mod batches;
mod digests;
mod hostile;
mod keys;
mod limits;
mod listing;
mod memory;
mod outcomes;
mod streams;
mod submissions;

use hashmesh::{
    gateway::v1::{Batch, SubmitBatchRequest, SubmitBatchResponse, batch, submit_batch_request},
    v1::{SubmissionState, TaskRows},
};
use tonic::Status;

use crate::support::{Gateway, raw, shared, wait::soon};

/// A `SubmitBatch` of one of the shapes.
fn whole(tasks: batch::Tasks) -> SubmitBatchRequest {
    let tasks = match tasks {
        batch::Tasks::Rows(rows) => submit_batch_request::Tasks::Rows(rows),
        batch::Tasks::Columns(columns) => submit_batch_request::Tasks::Columns(columns),
    };
    SubmitBatchRequest { tasks: Some(tasks), ..SubmitBatchRequest::default() }
}

async fn submit(gateway: &mut Gateway, request: SubmitBatchRequest) -> Result<SubmitBatchResponse, Status> {
    soon("SubmitBatch", gateway.submit_batch(request)).await.map(tonic::Response::into_inner)
}

/// A new completed submission of inline tasks, without names.
async fn completed(gateway: &mut Gateway, inputs: &[&str]) -> String {
    let request = SubmitBatchRequest { wait: true, ..whole(raw::packed(inputs)) };
    let submission = submit(gateway, request).await.expect("it is accepted").submission.expect("the answer has it");
    assert_eq!(submission.state(), SubmissionState::Completed);
    submission.submission_id
}

/// The shared mesh does its work.
async fn assert_mesh_works() {
    let mut gateway = shared::gateway().await;
    completed(&mut gateway, &["still alive"]).await;
}

fn batch_of(sequence: u32, tasks: batch::Tasks) -> Option<Batch> {
    Some(Batch { sequence, tasks: Some(tasks), ..Batch::default() })
}

fn no_rows() -> batch::Tasks {
    batch::Tasks::Rows(TaskRows::default())
}
