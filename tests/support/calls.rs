//! Calls of each kind, made as long as something happens to the mesh.

use bytes::Bytes;
use hashmesh::{
    client::Client,
    gateway::v1::{ListSubmissionsRequest, SubmitBatchRequest, submit_batch_request},
    v1::{Algorithm, SubmissionState, TaskRows},
};
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use super::{oracle, raw::inline};

/// Unary calls of the Rust client, one after the other, as long as they are wanted.
#[derive(Debug)]
pub(crate) struct Calls {
    enough: watch::Sender<bool>,
    made: watch::Receiver<usize>,
    calling: AbortOnDropHandle<Vec<(String, String)>>,
}

impl Calls {
    /// There are two submissions already, so that a page of two is full.
    pub(crate) fn start(client: Client) -> Self {
        let (enough, no_more) = watch::channel(false);
        let (made_sender, made) = watch::channel(0);
        let calling = tokio::spawn(async move {
            let mut answers = Vec::new();
            while !*no_more.borrow() {
                let input = format!("input of call {}", answers.len());
                let digest = call_each(&client, &input).await;
                answers.push((input, digest));
                made_sender.send_replace(answers.len());
            }
            answers
        });
        Self { enough, made, calling: AbortOnDropHandle::new(calling) }
    }

    /// How many rounds of them had their answers.
    pub(crate) fn made(&self) -> usize {
        *self.made.borrow()
    }

    /// Makes no more. None may have failed, and each has the digest that another implementation gives.
    pub(crate) async fn finish(self) {
        self.enough.send_replace(true);
        let answers = self.calling.await.expect("no call failed");
        let inputs: Vec<&[u8]> = answers.iter().map(|(input, _)| input.as_bytes()).collect();
        let wanted = oracle::digests("sha256", inputs.into_iter());
        for ((input, digest), wanted) in answers.iter().zip(wanted) {
            assert_eq!(*digest, hex::encode(wanted), "{input}");
        }
    }
}

/// One of each call. Returns the digest of the input.
async fn call_each(client: &Client, input: &str) -> String {
    let tasks = TaskRows { tasks: vec![inline("called", input.to_owned())] };
    let tasks = Some(submit_batch_request::Tasks::Rows(tasks));
    let request = SubmitBatchRequest { tasks, wait: true, ..SubmitBatchRequest::default() };
    let answer = client.submit_batch(request).await.unwrap_or_else(|error| panic!("SubmitBatch: {error:?}"));
    let submission = answer.submission.expect("the answer has it");
    assert_eq!((submission.state(), answer.outcomes.len()), (SubmissionState::Completed, 1));
    let digest = answer.outcomes[0].digests[0].hex.clone();
    let found = client.get_submission(&submission.submission_id).await;
    assert_eq!(found.unwrap_or_else(|error| panic!("GetSubmission: {error:?}")).succeeded_tasks, 1);
    let page =
        client.list_submissions(ListSubmissionsRequest { page_size: 2, ..ListSubmissionsRequest::default() }).await;
    assert_eq!(page.unwrap_or_else(|error| panic!("ListSubmissions: {error:?}")).submissions.len(), 2);
    let computed = client.compute_digest(Bytes::from(input.to_owned()), &[Algorithm::Sha256], 0).await;
    assert_eq!(computed.unwrap_or_else(|error| panic!("ComputeDigest: {error:?}")).digests[0].hex, digest);
    digest
}
