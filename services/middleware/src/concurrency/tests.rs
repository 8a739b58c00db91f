//! The rules of places, and the layer around a service.

use std::{convert::Infallible, sync::Arc, time::Duration};

use futures::FutureExt as _;
use http::{Request, Response, request::Parts};
use http_body_util::BodyExt as _;
use proptest::prelude::*;
use tonic::{Code, Status, body::Body};
use tower::{Layer as _, Service as _, ServiceExt as _};

use super::{
    Concurrency, ConcurrencyConfig, ConcurrencyLayer, Gate,
    policy::{Now, Policy},
};

fn policy(most: usize) -> Policy {
    Policy::new(ConcurrencyConfig { most, least: 2 })
}

fn at(millis: u64) -> Now {
    Duration::from_millis(millis)
}

fn name(caller: &str) -> Arc<str> {
    Arc::from(caller)
}

/// As many places as a caller gets at once.
fn take_all(policy: &mut Policy, now: Now, caller: &str) -> usize {
    (0..1_000).take_while(|_| policy.admit(now, &name(caller)).is_some()).count()
}

#[test]
fn a_caller_alone_gets_every_place_and_not_one_more() {
    let mut policy = policy(8);
    assert_eq!(take_all(&mut policy, at(0), "alone"), 8);
    policy.release(at(1), &name("alone"), false);
    assert_eq!(take_all(&mut policy, at(2), "alone"), 1);
}

#[test]
fn a_caller_that_asks_for_everything_keeps_nobody_out() {
    let mut policy = policy(8);
    assert_eq!(take_all(&mut policy, at(0), "greedy"), 8);
    // A quarter more, for those who have less than their share.
    assert_eq!(take_all(&mut policy, at(1), "modest"), 2);
    // From now on the greedy one leaves a quarter free.
    for _ in 0..8 {
        policy.release(at(2), &name("greedy"), false);
    }
    assert_eq!(take_all(&mut policy, at(3), "greedy"), 4);
    assert_eq!(take_all(&mut policy, at(4), "modest"), 2);
    // Once the others have gone, all is its own again.
    for caller in ["modest", "greedy"] {
        while policy.taken_by(caller) > 0 {
            policy.release(at(5), &name(caller), false);
        }
    }
    assert_eq!(take_all(&mut policy, at(1_300), "greedy"), 8);
}

#[test]
fn places_shrink_once_per_round_of_refusals_and_come_back_as_calls_succeed() {
    let mut policy = policy(100);
    assert_eq!(take_all(&mut policy, at(0), "a"), 100);
    for _ in 0..50 {
        policy.release(at(10), &name("a"), true);
    }
    assert_eq!(policy.places(), 90);
    for round in 1..100 {
        take_all(&mut policy, at(200 * round), "a");
        policy.release(at(200 * round), &name("a"), true);
    }
    assert_eq!(policy.places(), 2, "never fewer than the least");
    let mut now = 30_000;
    while policy.places() < 100 {
        now += 1;
        assert!(now < 60_000, "{} places", policy.places());
        take_all(&mut policy, at(now), "a");
        policy.release(at(now), &name("a"), false);
    }
}

proptest! {
    #[test]
    fn every_place_is_somebodys_and_comes_back(steps in proptest::collection::vec((0_u64..400, 0_usize..4, any::<bool>(), any::<bool>()), 1..300)) {
        let callers = ["a", "b", "c", "d"].map(name);
        let (mut policy, mut now, mut held) = (policy(10), 0, Vec::new());
        for (wait, caller, enter, overloaded) in steps {
            now += wait;
            if enter {
                if let Some(counted) = policy.admit(at(now), &callers[caller]) {
                    held.push(counted);
                } else {
                    // Nobody is refused where nobody else is.
                    prop_assert!(!held.is_empty());
                }
            } else if let Some(counted) = held.pop() {
                policy.release(at(now), &counted, overloaded);
            }
            prop_assert_eq!(policy.taken(), held.len());
            prop_assert!(policy.taken() <= 10 + 3);
            for caller in &callers {
                prop_assert_eq!(policy.taken_by(caller), held.iter().filter(|one| *one == caller).count());
            }
        }
    }
}

#[derive(Clone)]
struct Everyone;

impl Gate for Everyone {
    fn caller(&self, call: &Parts) -> Option<Arc<str>> {
        (call.uri.path() != "/free").then(|| Arc::from("everyone"))
    }

    fn overloaded(&self, status: &Status) -> bool {
        status.code() == Code::ResourceExhausted
    }

    fn refused(&self) -> Status {
        Status::resource_exhausted("no place")
    }
}

#[tokio::test(start_paused = true)]
async fn a_place_is_held_to_the_end_of_the_body_as_many_wait_for_one_and_all_others_are_refused_at_once() {
    let concurrency = Concurrency::new(ConcurrencyConfig { most: 1, least: 1 });
    let answer = |_: Request<Body>| async { Ok::<_, Infallible>(Response::new(Body::new(String::from("body")))) };
    let mut service = ConcurrencyLayer::new(concurrency.clone(), Everyone).layer(tower::service_fn(answer));
    let request = |path: &str| Request::builder().uri(path).body(Body::empty()).unwrap();
    let mut call = async |path: &str| service.ready().await.unwrap().call(request(path));
    let refused = |answer: &Response<Body>| {
        Status::from_header_map(answer.headers()).is_some_and(|status| status.code() == Code::ResourceExhausted)
    };

    let first = call("/work").await.await.unwrap();
    assert_eq!(concurrency.usage(), (1, 1));
    let mut second = call("/work").await;
    assert!(futures::poll!(&mut second).is_pending());
    assert!(refused(&call("/work").await.now_or_never().unwrap().unwrap()));
    assert!(!refused(&call("/free").await.await.unwrap()));
    // The first one's headers were read long ago.
    first.into_body().collect().await.unwrap();
    let second = second.await.unwrap();
    assert_eq!(concurrency.usage(), (1, 1));
    // One that waits too long is refused, and leaves its turn to another.
    assert!(refused(&call("/work").await.await.unwrap()));
    let fourth = call("/work").await;
    drop(second);
    drop(fourth.await.unwrap());
    assert_eq!(concurrency.usage(), (0, 1));
}
