use std::{collections::HashMap, time::Duration};

use hashmesh::{
    gateway::v1::{WatchSubmissionRequest, watch_submission_response::Frame},
    v1::{Submission, SubmissionOptions},
};

use super::mesh::{ID, Mesh};

fn request() -> WatchSubmissionRequest {
    WatchSubmissionRequest { submission_id: ID.to_owned() }
}

#[tokio::test]
async fn who_does_not_read_holds_up_nobody_and_gets_the_last_state() {
    let mesh = Mesh::start().await;
    // 20 times what a stream and 5 times what a connection may have under way.
    const STATES: u32 = 5_120;
    let labels = HashMap::from([("a".to_owned(), "b".repeat(16 * 1_024))]);
    let options = SubmissionOptions { labels: labels.into_iter().collect(), ..Default::default() };
    let state = |next_sequence| Submission { next_sequence, options: Some(options.clone()), ..Default::default() };
    mesh.queue.script.lock().unwrap().states = (0..STATES).map(state).collect();
    let mut first = mesh.client().watch_submission(request()).await.unwrap().into_inner();
    let mut sent = mesh.queue.script.lock().unwrap().states_sent.subscribe();
    let all = sent.wait_for(|sent| *sent == STATES as usize);
    tokio::time::timeout(Duration::from_secs(30), all).await.expect("the Gateway reads all of them").unwrap();
    let (mut last, mut frames) = (0, 0);
    while let Some(message) = first.message().await.unwrap() {
        let Some(Frame::Submission(submission)) = message.frame else { continue };
        (last, frames) = (submission.next_sequence, frames + 1);
    }
    assert_eq!(last, STATES - 1);
    assert!(frames < STATES, "all {frames} states were kept");
}
