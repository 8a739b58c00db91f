use std::{cell::RefCell, time::Duration};

use hashmesh::error::{self as codes, Reason, StatusBuilder};

use super::*;

fn upstream(urls: &[&str]) -> Upstream {
    Upstream::new(Role::Hash, &urls.iter().map(ToString::to_string).collect::<Vec<_>>(), None).unwrap()
}

fn not_connected() -> Status {
    Status::from_error(Box::new(tonic::ConnectError("refused".into())))
}

/// The URLs that were asked, and the result, where each attempt is answered by `answer`.
async fn asked(
    upstream: &Upstream,
    repeat: Repeat,
    answer: impl Fn(&str) -> Result<(), Status>,
) -> (Vec<String>, Result<(), Status>) {
    let urls = RefCell::new(Vec::new());
    let result = upstream
        .attempt(repeat, |target| {
            urls.borrow_mut().push(target.url().to_owned());
            std::future::ready(answer(target.url()))
        })
        .await;
    (urls.into_inner(), result)
}

const A: &str = "http://a:1";
const B: &str = "http://b:1";

#[tokio::test]
async fn a_call_that_was_not_delivered_is_sent_elsewhere_even_if_it_may_not_be_repeated() {
    let upstream = upstream(&[A, B]);
    let answer = |url: &str| if url == B { Ok(()) } else { Err(not_connected()) };
    let (urls, result) = asked(&upstream, Repeat::Unsafe, answer).await;
    assert!(result.is_ok());
    assert_eq!(urls, [A, B]);
    assert_eq!(asked(&upstream, Repeat::Unsafe, answer).await.0, [B], "who answers is kept to");
}

#[tokio::test]
async fn a_call_that_may_have_been_executed_is_repeated_only_if_that_is_safe() {
    for (repeat, attempts) in [(Repeat::Safe, 2), (Repeat::Unsafe, 1)] {
        let upstream = upstream(&[A]);
        let (urls, result) = asked(&upstream, repeat, |_| Err(Status::unknown("connection reset"))).await;
        assert_eq!(codes::reason(&result.unwrap_err()), Some(Reason::UpstreamUnavailable));
        assert_eq!(urls.len(), attempts);
    }
}

#[tokio::test]
async fn an_answer_is_never_asked_for_twice() {
    let upstream = upstream(&[A, B]);
    let gap = || StatusBuilder::new(Reason::SequenceGap, "expected 3").build();
    let (urls, result) = asked(&upstream, Repeat::Safe, |_| Err(gap())).await;
    assert_eq!(codes::reason(&result.unwrap_err()), Some(Reason::SequenceGap));
    assert_eq!(urls, [A]);
}

#[tokio::test]
async fn processes_that_are_all_away_are_asked_four_times_together() {
    let upstream = upstream(&[A, B]);
    let (urls, result) = asked(&upstream, Repeat::Safe, |_| Err(not_connected())).await;
    assert_eq!(urls, [A, B, A, B]);
    assert_eq!(codes::reason(&result.unwrap_err()), Some(Reason::UpstreamUnavailable));
}

#[tokio::test]
async fn a_process_that_cannot_be_reached_is_an_upstream_that_is_unavailable() {
    // Nothing listens on a port that was bound and closed.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let upstream = upstream(&[&format!("http://127.0.0.1:{port}")]);
    let deadline = Deadline::after(Duration::from_secs(10));
    let status = upstream
        .call(Repeat::Unsafe, deadline, |channel| async move {
            let mut queue = hashmesh::queue::v1::queue_service_client::QueueServiceClient::new(channel);
            let answer = queue.get_queue_stats(hashmesh::queue::v1::GetQueueStatsRequest {}).await;
            assert!(answer.as_ref().is_err_and(error::not_connected), "{answer:?}");
            answer
        })
        .await
        .unwrap_err();
    assert_eq!(codes::reason(&status), Some(Reason::UpstreamUnavailable));
    assert!(codes::retry_after(&status).is_some());
}
