use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures::FutureExt as _;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt as _, StreamBody};
use proptest::prelude::*;
use tonic::{Code, Status, body::Body};
use tower::{Layer as _, service_fn};

use super::{
    policy::{Admission, Policy, Ticket},
    *,
};

const MS: Duration = Duration::from_millis(1);

fn config() -> BreakerConfig {
    BreakerConfig { open_for: 100 * MS, open_for_at_most: 400 * MS, ..BreakerConfig::default() }
}

fn pass(policy: &mut Policy, now: Duration) -> Ticket {
    match policy.admit(now) {
        Admission::Pass(ticket) => ticket,
        Admission::Refuse(after) => panic!("refused at {now:?} for {after:?}"),
    }
}

fn refused(policy: &mut Policy, now: Duration) -> bool {
    matches!(policy.admit(now), Admission::Refuse(_))
}

/// A policy that has just opened, at 0.
fn tripped() -> Policy {
    let mut policy = Policy::new(config());
    let opened: Vec<bool> = (0..5)
        .map(|_| {
            let ticket = pass(&mut policy, Duration::ZERO);
            policy.record(Duration::ZERO, ticket, true, 1.0)
        })
        .collect();
    assert_eq!(opened, [false, false, false, false, true]);
    policy
}

#[test]
fn failures_in_a_row_trip_it_and_a_success_between_them_does_not() {
    let mut policy = Policy::new(config());
    for _ in 0..3 {
        for failed in [true, true, true, true, false] {
            let ticket = pass(&mut policy, Duration::ZERO);
            assert!(!policy.record(Duration::ZERO, ticket, failed, 1.0));
        }
    }
    assert!(refused(&mut tripped(), Duration::ZERO));
}

#[test]
fn half_of_many_calls_trips_it_and_half_of_few_does_not_and_old_calls_are_forgotten() {
    let mut policy = Policy::new(config());
    let mut end = |now: Duration, failed| {
        let ticket = pass(&mut policy, now);
        policy.record(now, ticket, failed, 1.0)
    };
    let second = Duration::from_secs(1);
    assert!((0..18).all(|call| !end(Duration::ZERO, call % 2 == 0)));
    // Twelve seconds later those are gone.
    assert!((0..18).all(|call| !end(12 * second, call % 2 == 0)));
    assert!(!end(13 * second, false));
    assert!(end(13 * second, true), "10 of 20 calls within 10 s");
}

#[test]
fn open_it_lets_nobody_through_then_exactly_one_and_stays_open_for_longer_each_time() {
    let mut policy = tripped();
    let mut now = Duration::ZERO;
    for open_for in [100, 200, 400, 400] {
        assert!(refused(&mut policy, now + (open_for - 1) * MS));
        now += open_for * MS;
        let probe = pass(&mut policy, now);
        assert!((0..1_000).all(|_| refused(&mut policy, now)));
        assert!(policy.record(now, probe, true, 1.0));
    }
    now += 400 * MS;
    let probe = pass(&mut policy, now);
    assert!(!policy.record(now, probe, false, 1.0));
    assert!(policy.is_closed());
    // It has forgotten: the next time it opens for as long as the first time.
    for _ in 0..5 {
        let ticket = pass(&mut policy, now);
        policy.record(now, ticket, true, 0.0);
    }
    assert_eq!(policy.admit(now), Admission::Refuse(80 * MS), "spread over the last fifth");
}

#[test]
fn a_probe_that_is_given_up_leaves_its_place_to_another() {
    let mut policy = tripped();
    let probe = pass(&mut policy, 100 * MS);
    assert!(refused(&mut policy, 100 * MS));
    policy.release(probe);
    let second = pass(&mut policy, 100 * MS);
    // The first has nothing to say any more, twice.
    policy.release(probe);
    assert!(!policy.is_closed());
    policy.record(100 * MS, second, false, 1.0);
    assert!(policy.is_closed());
}

#[test]
fn what_calls_of_before_say_neither_closes_nor_opens_it() {
    let mut policy = Policy::new(config());
    let early: Vec<Ticket> = (0..10).map(|_| pass(&mut policy, Duration::ZERO)).collect();
    for ticket in &early[..5] {
        policy.record(Duration::ZERO, *ticket, true, 1.0);
    }
    policy.record(50 * MS, early[5], false, 1.0);
    assert!(refused(&mut policy, 50 * MS), "a late success does not close it");
    let probe = pass(&mut policy, 100 * MS);
    policy.record(100 * MS, early[6], false, 1.0);
    assert!(!policy.is_closed(), "nor while a probe is under way");
    policy.record(100 * MS, probe, false, 1.0);
    for ticket in &early {
        policy.record(110 * MS, *ticket, true, 1.0);
    }
    assert!(policy.is_closed(), "late failures do not open it again");
}

proptest! {
    /// Whatever happens in whatever order: half open exactly one passes, and after enough time somebody always does.
    #[test]
    fn at_most_one_probe_is_under_way_and_nobody_is_shut_out_for_ever(
        steps in proptest::collection::vec((0_u8..4, 0_u64..300, any::<bool>(), 0.0_f64..1.0), 1..300),
    ) {
        let mut policy = Policy::new(config());
        let mut now = Duration::ZERO;
        let mut under_way: Vec<Ticket> = Vec::new();
        for (step, ms, failed, spread) in steps {
            match step {
                0 => now += Duration::from_millis(ms),
                1 => if let Admission::Pass(ticket) = policy.admit(now) {
                    under_way.push(ticket);
                    prop_assert!(policy.is_closed() || refused(&mut policy, now));
                },
                2 => if let Some(ticket) = under_way.pop() { policy.record(now, ticket, failed, spread); },
                _ => if let Some(ticket) = under_way.pop() { policy.release(ticket); },
            }
        }
        under_way.into_iter().for_each(|ticket| policy.release(ticket));
        now += Duration::from_secs(1);
        prop_assert!(matches!(policy.admit(now), Admission::Pass(_)));
    }
}

const JUDGE: Judge = Judge {
    failed: |status| status.code() == Code::Unavailable,
    refused: |open| Status::aborted(format!("open for {:?}", open.retry_after)),
};

fn trailers(code: Code) -> HeaderMap {
    let mut trailers = HeaderMap::new();
    Status::new(code, "").add_header(&mut trailers).unwrap();
    trailers
}

/// A response whose status is in its trailers; `None`: it ends in its middle.
fn response(code: Option<Code>) -> Response<Body> {
    let data = std::iter::once(Ok::<_, Infallible>(http_body::Frame::data("message".into())));
    let end = code.map(|code| Ok(http_body::Frame::trailers(trailers(code))));
    Response::new(Body::new(StreamBody::new(futures::stream::iter(data.chain(end)))))
}

/// The code that a caller sees.
async fn call(
    service: &mut (impl tower::Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Send),
) -> Code {
    let response = service.call(Request::new(Body::empty())).await.unwrap();
    if let Some(status) = Status::from_header_map(response.headers()) {
        return status.code();
    }
    let trailers = response.into_body().collect().await.unwrap().trailers().cloned();
    trailers.and_then(|trailers| Status::from_header_map(&trailers)).map_or(Code::Unknown, |status| status.code())
}

#[tokio::test(start_paused = true)]
async fn failures_in_headers_in_trailers_and_in_a_missing_end_trip_it_and_refusals_touch_nobody() {
    let answers: [fn() -> Response<Body>; 3] =
        [|| Status::unavailable("").into_http(), || response(Some(Code::Unavailable)), || response(None)];
    for answer in answers {
        let calls = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&calls);
        let upstream = service_fn(move |_: Request<Body>| {
            counted.fetch_add(1, Ordering::Relaxed);
            async move { Ok::<_, Infallible>(answer()) }
        });
        // Each failure in a trailer follows the success of its headers: it is the share that tells.
        let breaker = Breaker::new("test", BreakerConfig { least_calls: 10, failure_share: 0.4, ..config() });
        let mut service = BreakerLayer::new(Arc::clone(&breaker), JUDGE).layer(upstream);
        let mut made = 0;
        while breaker.is_closed() {
            call(&mut service).await;
            made += 1;
            assert!(made < 50);
        }
        assert_eq!(calls.load(Ordering::Relaxed), made);
        for _ in 0..100 {
            assert_eq!(call(&mut service).await, Code::Aborted);
        }
        assert_eq!(calls.load(Ordering::Relaxed), made, "refused calls reached it");
    }
}

#[tokio::test(start_paused = true)]
async fn of_a_thousand_callers_at_once_exactly_one_is_the_probe_and_all_pass_once_it_succeeds() {
    let (healthy, calls) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (well, counted) = (Arc::clone(&healthy), Arc::clone(&calls));
    let upstream = service_fn(move |_: Request<Body>| {
        counted.fetch_add(1, Ordering::Relaxed);
        let well = well.load(Ordering::Relaxed) == 1;
        async move {
            tokio::time::sleep(10 * MS).await;
            Ok::<_, Infallible>(if well { response(Some(Code::Ok)) } else { Status::unavailable("").into_http() })
        }
    });
    let service = BreakerLayer::new(Breaker::new("test", config()), JUDGE).layer(upstream);
    let everyone = || {
        let calls = (0..1_000).map(|_| {
            let mut service = service.clone();
            async move { call(&mut service).await }
        });
        futures::future::join_all(calls)
    };
    // All are under way before the first fails.
    assert!(everyone().await.iter().all(|code| *code == Code::Unavailable));
    assert_eq!(calls.swap(0, Ordering::Relaxed), 1_000);
    assert!(everyone().await.iter().all(|code| *code == Code::Aborted));
    assert_eq!(calls.swap(0, Ordering::Relaxed), 0);
    healthy.store(1, Ordering::Relaxed);
    tokio::time::sleep(100 * MS).await;
    let codes = everyone().await;
    assert_eq!(calls.swap(0, Ordering::Relaxed), 1);
    assert_eq!(codes.iter().filter(|code| **code == Code::Ok).count(), 1);
    assert!(everyone().await.iter().all(|code| *code == Code::Ok));
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_given_up_counts_only_if_it_had_waited_long() {
    let upstream = service_fn(|_: Request<Body>| std::future::pending::<Result<Response<Body>, Infallible>>());
    let breaker = Breaker::new("test", config());
    let mut service = BreakerLayer::new(Arc::clone(&breaker), JUDGE).layer(upstream);
    for _ in 0..20 {
        assert!(call(&mut service).now_or_never().is_none());
    }
    assert!(breaker.is_closed());
    for _ in 0..5 {
        let given_up = tokio::time::timeout(Duration::from_secs(2), call(&mut service)).await;
        assert!(given_up.is_err());
    }
    assert!(!breaker.is_closed());
    // So does a probe that hangs.
    tokio::time::sleep(100 * MS).await;
    assert!(tokio::time::timeout(Duration::from_secs(2), call(&mut service)).await.is_err());
    assert_eq!(call(&mut service).await, Code::Aborted);
}

#[tokio::test(start_paused = true)]
async fn what_it_does_is_told_and_what_it_has_refused_is_counted() {
    let breaker = Breaker::new("test", config());
    let stats = |state, refused, opened| BreakerStats { state, refused, opened };
    assert_eq!(breaker.stats(), stats(BreakerState::Closed, 0, 0));
    (0..5).for_each(|_| breaker.enter().unwrap().failed());
    assert!(breaker.enter().is_err() && breaker.enter().is_err());
    assert_eq!(breaker.stats(), stats(BreakerState::Open, 2, 1));
    // Nobody has come yet who could be the probe.
    tokio::time::advance(100 * MS).await;
    assert_eq!(breaker.stats(), stats(BreakerState::HalfOpen, 2, 1));
    let mut probe = breaker.enter().unwrap();
    assert!(breaker.enter().is_err());
    probe.failed();
    assert_eq!(breaker.stats(), stats(BreakerState::Open, 3, 2));
    tokio::time::advance(400 * MS).await;
    breaker.enter().unwrap().succeeded();
    assert_eq!(breaker.stats(), stats(BreakerState::Closed, 3, 2));
}
