use std::cell::RefCell;

use hashmesh::{
    error as codes,
    queue::v1::{QueueProcess as ToldProcess, ShardOwner},
    shards::SHARDS,
};

use super::*;

fn upstream(urls: &[&str]) -> QueueUpstream {
    QueueUpstream::new(&urls.iter().map(ToString::to_string).collect::<Vec<_>>(), None).unwrap()
}

fn not_owner(owner: Option<&str>) -> Status {
    let status = StatusBuilder::new(Reason::NotOwner, "ask the owner");
    owner.map_or_else(|| StatusBuilder::new(Reason::NotOwner, ""), |owner| status.metadata("owner", owner)).build()
}

fn not_connected() -> Status {
    Status::from_error(Box::new(tonic::ConnectError("refused".into())))
}

fn recovering() -> Status {
    StatusBuilder::new(Reason::Recovering, "wait").build()
}

/// A picture of these processes in which every shard is owned as `owner` says: an epoch, and whose it is, from 1; 0: nobody's.
fn picture(processes: &[&str], owner: impl Fn(u8) -> (u64, u32)) -> WatchShardsResponse {
    let process = |address: &&str| ToldProcess { process_id: vec![7; 16].into(), address: (*address).to_owned() };
    let shard = |shard| {
        let (epoch, process) = owner(shard);
        ShardOwner { epoch, process }
    };
    WatchShardsResponse { processes: processes.iter().map(process).collect(), shards: (0..SHARDS).map(shard).collect() }
}

/// The URLs that were asked, and the result, where each attempt is answered by `answer`.
async fn asked(
    upstream: &QueueUpstream,
    route: Route,
    repeat: Repeat,
    answer: impl Fn(&str) -> Result<(), Status>,
) -> (Vec<String>, Result<(), Status>) {
    let urls = RefCell::new(Vec::new());
    let result = upstream
        .attempt(route, repeat, false, |target| {
            urls.borrow_mut().push(target.url().to_owned());
            std::future::ready(answer(target.url()))
        })
        .await;
    (urls.into_inner(), result)
}

fn only<'a>(answers: &'a str, otherwise: impl Fn() -> Status + 'a) -> impl Fn(&str) -> Result<(), Status> + 'a {
    move |url| if url == answers { Ok(()) } else { Err(otherwise()) }
}

const A: &str = "http://a:1";
const B: &str = "http://b:1";
const C: &str = "http://c:1";
const SHARD: Route = Route::Shard(9);

/// Without a picture: a Queue of a version that shares nothing.
mod unshared {
    use super::*;

    #[tokio::test]
    async fn a_wrong_address_leads_to_the_owner_which_is_kept_to() {
        let upstream = upstream(&[A, B]);
        let answer = only(C, || not_owner(Some("c:1")));
        let (urls, result) = asked(&upstream, SHARD, Repeat::Unsafe, &answer).await;
        assert!(result.is_ok());
        assert_eq!(urls, [A, C]);
        assert_eq!(asked(&upstream, Route::AnyOwner, Repeat::Unsafe, &answer).await.0, [C]);
    }

    #[tokio::test]
    async fn an_owner_that_is_gone_is_left_for_the_configured_urls() {
        let upstream = upstream(&[A, B]);
        let _ = asked(&upstream, SHARD, Repeat::Safe, only(C, || not_owner(Some(C)))).await;
        let (urls, result) = asked(&upstream, SHARD, Repeat::Unsafe, only(B, not_connected)).await;
        assert!(result.is_ok());
        assert_eq!(urls, [C, A, B]);
    }

    #[tokio::test]
    async fn processes_that_send_us_round_in_a_circle_end_it_after_four_attempts() {
        let upstream = upstream(&[A, B]);
        let answer = |url: &str| Err(not_owner(Some(if url == A { B } else { A })));
        let (urls, result) = asked(&upstream, SHARD, Repeat::Safe, answer).await;
        assert_eq!(urls, [A, B, A, B]);
        assert_eq!(codes::reason(&result.unwrap_err()), Some(Reason::UpstreamUnavailable));
    }

    #[tokio::test]
    async fn a_process_that_names_itself_as_owner_is_not_asked_again() {
        let upstream = upstream(&[A]);
        let (urls, _) = asked(&upstream, SHARD, Repeat::Safe, |_| Err(not_owner(Some("http://a:1/")))).await;
        assert_eq!(urls, [A]);
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
}

/// The even shards are A's, the odd ones B's.
fn shared() -> QueueUpstream {
    let upstream = upstream(&["http://somebody:1"]);
    upstream.take(&picture(&[A, B], |shard| (1, 1 + u32::from(shard % 2))));
    upstream
}

#[tokio::test]
async fn a_call_goes_to_the_owner_of_its_shard_and_what_anybody_can_do_to_one_that_is_kept_to() {
    let upstream = shared();
    for (route, owner) in [(Route::Shard(0), A), (Route::Shard(9), B), (Route::Shard(63), B)] {
        assert_eq!(asked(&upstream, route, Repeat::Unsafe, |_| Ok(())).await.0, [owner]);
    }
    let any = asked(&upstream, Route::Any, Repeat::Safe, |_| Ok(())).await.0;
    assert!([A, B].contains(&any[0].as_str()), "{any:?}");
    assert_eq!(asked(&upstream, Route::Any, Repeat::Safe, |_| Ok(())).await.0, any);
}

#[tokio::test]
async fn creations_are_spread_over_who_owns_something_and_leave_out_who_fails() {
    let upstream = upstream(&[A]);
    // C takes shards, and has none yet.
    upstream.take(&picture(&[A, B, C], |shard| (1, 1 + u32::from(shard % 2))));
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..200 {
        seen.extend(asked(&upstream, Route::AnyOwner, Repeat::Unsafe, |_| Ok(())).await.0);
    }
    assert_eq!(Vec::from_iter(seen), [A, B]);
    for _ in 0..20 {
        let (urls, result) = asked(&upstream, Route::AnyOwner, Repeat::Unsafe, only(B, not_connected)).await;
        assert!(result.is_ok() && urls.len() <= 2, "{urls:?}");
    }
}

#[tokio::test]
async fn whom_the_owner_names_is_asked_until_a_picture_says_more() {
    let upstream = shared();
    let (urls, result) = asked(&upstream, SHARD, Repeat::Unsafe, only(C, || not_owner(Some("c:1")))).await;
    assert!(result.is_ok());
    assert_eq!(urls, [B, C]);
    // Of this shard only, and also when the same picture comes again.
    upstream.take(&picture(&[A, B], |shard| (1, 1 + u32::from(shard % 2))));
    assert_eq!(asked(&upstream, SHARD, Repeat::Unsafe, |_| Ok(())).await.0, [C]);
    assert_eq!(asked(&upstream, Route::Shard(11), Repeat::Unsafe, |_| Ok(())).await.0, [B]);
    upstream.take(&picture(&[A, B], |_| (2, 1)));
    assert_eq!(asked(&upstream, SHARD, Repeat::Unsafe, |_| Ok(())).await.0, [A]);
}

#[tokio::test(start_paused = true)]
async fn whom_the_owner_has_named_is_left_if_it_does_not_answer() {
    let upstream = shared();
    let _ = asked(&upstream, SHARD, Repeat::Unsafe, only(C, || not_owner(Some(C)))).await;
    let (urls, result) = asked(&upstream, SHARD, Repeat::Unsafe, only(B, not_connected)).await;
    assert!(result.is_ok());
    assert_eq!(urls, [C, B]);
}

#[tokio::test(start_paused = true)]
async fn promise_12_a_call_waits_for_a_shard_that_changes_hands() {
    for (repeat, status) in [
        (Repeat::Unsafe, not_owner(None)),
        (Repeat::Unsafe, not_connected()),
        (Repeat::Unsafe, StatusBuilder::new(Reason::Draining, "stopping").build()),
        (Repeat::Safe, recovering()),
    ] {
        let upstream = shared();
        let began = Instant::now();
        let handed_over = async {
            sleep(Duration::from_millis(700)).await;
            upstream.take(&picture(&[A, B], |_| (2, 1)));
        };
        let asking = asked(&upstream, SHARD, repeat, only(A, || status.clone()));
        let ((urls, result), ()) = tokio::join!(asking, handed_over);
        assert!(result.is_ok(), "{status}");
        // At once when it is known, and not too often before.
        assert!((3..=8).contains(&urls.len()), "{urls:?}");
        assert_eq!(urls.last().unwrap(), A);
        assert!(began.elapsed() < Duration::from_millis(710), "{:?}", began.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn a_shard_that_nobody_owns_is_waited_for_and_not_for_ever() {
    let upstream = shared();
    upstream.take(&picture(&[A, B], |_| (1, 0)));
    assert!(!upstream.owned());
    for route in [SHARD, Route::AnyOwner] {
        let began = Instant::now();
        let (urls, result) = asked(&upstream, route, Repeat::Unsafe, |_| Ok(())).await;
        assert!(urls.is_empty());
        let status = result.unwrap_err();
        assert_eq!(codes::reason(&status), Some(Reason::UpstreamUnavailable));
        assert!(codes::retry_after(&status).is_some());
        let waited = began.elapsed();
        assert!(waited >= PATIENCE && waited < PATIENCE + Duration::from_millis(300), "{waited:?}");
    }
    let taken_over = async {
        sleep(Duration::from_secs(1)).await;
        upstream.take(&picture(&[A, B], |_| (2, 2)));
    };
    let ((urls, result), ()) = tokio::join!(asked(&upstream, SHARD, Repeat::Unsafe, |_| Ok(())), taken_over);
    assert!(result.is_ok());
    assert_eq!(urls, [B]);
}

#[tokio::test(start_paused = true)]
async fn what_may_have_been_executed_is_repeated_once_if_that_is_safe_and_what_recovers_only_then() {
    let lost = || Status::unknown("connection reset");
    for (repeat, attempts) in [(Repeat::Safe, 2), (Repeat::Unsafe, 1)] {
        let (urls, result) = asked(&shared(), SHARD, repeat, |_| Err(lost())).await;
        assert_eq!(codes::reason(&result.unwrap_err()), Some(Reason::UpstreamUnavailable));
        assert_eq!(urls.len(), attempts);
    }
    let (urls, result) = asked(&shared(), SHARD, Repeat::Unsafe, |_| Err(recovering())).await;
    assert_eq!((urls.len(), codes::reason(&result.unwrap_err())), (1, Some(Reason::Recovering)));
    let upstream = shared();
    let mut attempts = 0;
    // To open something again is as good as to open it.
    let opened = upstream.attempt(SHARD, Repeat::Unsafe, true, |_| {
        attempts += 1;
        std::future::ready(if attempts < 3 { Err(recovering()) } else { Ok(()) })
    });
    opened.await.unwrap();
    assert_eq!(attempts, 3);
}

#[tokio::test(start_paused = true)]
async fn a_process_that_is_silent_is_left_once_somebody_else_owns_the_shard() {
    for route in [SHARD, Route::Any] {
        let upstream = shared();
        upstream.take(&picture(&[B], |_| (2, 1)));
        let taken_over = async {
            sleep(Duration::from_secs(6)).await;
            upstream.take(&picture(&[A], |_| (3, 1)));
        };
        let asking = upstream.attempt(route, Repeat::Safe, false, |target| async move {
            if target.url() == B {
                std::future::pending::<()>().await;
            }
            Ok(target.url().to_owned())
        });
        let (answer, ()) = tokio::join!(asking, taken_over);
        assert_eq!(answer.unwrap(), A);
    }
}

#[tokio::test]
async fn an_older_picture_changes_nothing_and_one_that_cannot_be_is_not_believed() {
    let upstream = shared();
    upstream.take(&picture(&[A, B], |_| (5, 1)));
    upstream.take(&picture(&[A, B], |_| (4, 2)));
    assert_eq!(asked(&upstream, SHARD, Repeat::Safe, |_| Ok(())).await.0, [A]);
    upstream.take(&WatchShardsResponse { shards: Vec::new(), ..picture(&[B], |_| (6, 1)) });
    upstream.take(&picture(&[B], |_| (6, 2)));
    // Of a process that has not looked yet.
    upstream.take(&picture(&[], |_| (0, 0)));
    assert_eq!(asked(&upstream, SHARD, Repeat::Safe, |_| Ok(())).await.0, [A]);
}

#[tokio::test]
async fn processes_that_are_in_no_picture_any_more_are_forgotten() {
    let upstream = shared();
    assert_eq!(upstream.directory().known().len(), 3);
    upstream.take(&picture(&[C], |_| (2, 1)));
    let known: Vec<_> = upstream.directory().known().iter().map(|target| target.url().to_owned()).collect();
    assert_eq!(known, ["http://somebody:1", C]);
    // And nobody is asked who has left.
    assert_eq!(asked(&upstream, Route::Any, Repeat::Safe, |_| Ok(())).await.0, [C]);
}

#[tokio::test]
async fn a_stream_that_ends_because_its_shard_is_elsewhere_leads_the_next_one_there() {
    let upstream = shared();
    let opened = upstream.open(SHARD, Repeat::Safe, Pace::Client, |_| std::future::ready(Ok(()))).await;
    let ((), slot) = opened.unwrap();
    let told = upstream.status(&slot, &not_owner(Some(C)));
    assert_eq!(codes::reason(&told), Some(Reason::UpstreamUnavailable));
    assert_eq!(asked(&upstream, SHARD, Repeat::Safe, |_| Ok(())).await.0, [C]);
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_nobody_opens_is_given_up_in_the_end() {
    let upstream = upstream(&[A]);
    let began = Instant::now();
    let opened =
        upstream.open(SHARD, Repeat::Safe, Pace::Client, |_| std::future::pending::<Result<(), Status>>()).await;
    assert_eq!(opened.map(drop).unwrap_err().code(), tonic::Code::DeadlineExceeded);
    assert_eq!(began.elapsed(), deadline::DEFAULT);
}
