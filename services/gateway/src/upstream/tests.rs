use std::{cell::RefCell, time::Duration};

use hashmesh::error::StatusBuilder;

use super::*;

fn upstream(urls: &[&str]) -> Upstream {
    Upstream::new(Role::Queue, &urls.iter().map(ToString::to_string).collect::<Vec<_>>(), None).unwrap()
}

fn not_owner(owner: Option<&str>) -> Status {
    let status = StatusBuilder::new(Reason::NotOwner, "ask the owner");
    owner.map_or_else(|| StatusBuilder::new(Reason::NotOwner, ""), |owner| status.metadata("owner", owner)).build()
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
const C: &str = "http://c:1";

#[tokio::test]
async fn a_wrong_address_leads_to_the_owner_which_is_kept_to() {
    let upstream = upstream(&[A, B]);
    let answer = |url: &str| if url == C { Ok(()) } else { Err(not_owner(Some("c:1"))) };
    let (urls, result) = asked(&upstream, Repeat::Unsafe, answer).await;
    assert!(result.is_ok());
    assert_eq!(urls, [A, C]);
    assert_eq!(asked(&upstream, Repeat::Unsafe, answer).await.0, [C]);
}

#[tokio::test]
async fn an_owner_that_is_gone_is_left_for_the_configured_urls() {
    let upstream = upstream(&[A, B]);
    let _ = asked(&upstream, Repeat::Safe, |url| if url == C { Ok(()) } else { Err(not_owner(Some(C))) }).await;
    let (urls, result) =
        asked(&upstream, Repeat::Unsafe, |url| if url == B { Ok(()) } else { Err(not_connected()) }).await;
    assert!(result.is_ok());
    assert_eq!(urls, [C, A, B]);
}

#[tokio::test]
async fn a_call_that_was_not_delivered_is_sent_elsewhere_even_if_it_may_not_be_repeated() {
    let upstream = upstream(&[A, B]);
    let (urls, result) =
        asked(&upstream, Repeat::Unsafe, |url| if url == B { Ok(()) } else { Err(not_connected()) }).await;
    assert!(result.is_ok());
    assert_eq!(urls, [A, B]);
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
async fn processes_that_send_us_round_in_a_circle_end_it_after_four_attempts() {
    let upstream = upstream(&[A, B]);
    let answer = |url: &str| Err(not_owner(Some(if url == A { B } else { A })));
    let (urls, result) = asked(&upstream, Repeat::Safe, answer).await;
    assert_eq!(urls, [A, B, A, B]);
    assert_eq!(codes::reason(&result.unwrap_err()), Some(Reason::UpstreamUnavailable));
}

#[tokio::test]
async fn a_process_that_names_itself_as_owner_is_not_asked_again() {
    let upstream = upstream(&[A]);
    let (urls, _) = asked(&upstream, Repeat::Safe, |_| Err(not_owner(Some("http://a:1/")))).await;
    assert_eq!(urls, [A]);
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

#[tokio::test]
async fn a_service_is_reachable_while_any_of_its_processes_answers_whatever_that_says() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let upstream = upstream(&["http://127.0.0.1:1", &url]);
    let soon = Duration::from_secs(10);
    let (health, shutdown) = (hashmesh_runtime::health::Health::new(), hashmesh_runtime::shutdown::Shutdown::new());
    health.not_serving("as the test asked");
    let server = hashmesh_runtime::server::GrpcServer::new("test", health);
    let served = tokio::spawn(server.serve(listener, shutdown.clone()));
    assert!(upstream.reachable(soon).await);
    shutdown.begin();
    served.await.unwrap().unwrap();
    assert!(!upstream.reachable(soon).await);
}
