//! Who may use the mesh: keys, scopes, tenants.

mod every_bound;
mod every_rpc;
mod keys;
mod sources;
mod verbs;
mod workers;

use hashmesh::{
    gateway::v1::{SubmitBatchRequest, submit_batch_request::Tasks},
    v1::{Task, TaskRows, task::Source},
};

/// One small task.
fn batch() -> SubmitBatchRequest {
    let task = Task { name: "a".to_owned(), source: Some(Source::Data("hello".into())), ..Task::default() };
    let rows = TaskRows { tasks: vec![task] };
    SubmitBatchRequest { tasks: Some(Tasks::Rows(rows)), ..SubmitBatchRequest::default() }
}
