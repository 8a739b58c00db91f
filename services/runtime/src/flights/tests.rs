use std::{
    hash::BuildHasherDefault,
    sync::atomic::AtomicUsize,
    time::{Duration, Instant},
};

use futures::future::{join_all, pending};
use tokio::sync::Notify;

use super::*;

/// Everything has the same hash.
#[derive(Default)]
struct Same;

impl Hasher for Same {
    fn write(&mut self, _: &[u8]) {}

    fn finish(&self) -> u64 {
        7
    }
}

type Colliding = Flights<u32, u32, BuildHasherDefault<Same>>;

/// Work that waits until it is let go, and counts how often it was begun.
#[derive(Clone, Default)]
struct Gated {
    gate: Arc<Notify>,
    begun: Arc<AtomicUsize>,
}

impl Gated {
    fn work(&self, result: u32) -> impl Future<Output = u32> + Send + 'static + use<> {
        let Self { gate, begun } = self.clone();
        async move {
            begun.fetch_add(1, Ordering::Relaxed);
            gate.notified().await;
            result
        }
    }

    fn begun(&self) -> usize {
        self.begun.load(Ordering::Relaxed)
    }
}

#[tokio::test]
async fn who_comes_while_it_is_under_way_has_the_same_result_and_who_comes_later_another() {
    let (flights, gated) = (Flights::new(), Gated::default());
    let all = join_all((0..100).map(|number| {
        flights.run("key", {
            let gated = &gated;
            move || gated.work(number)
        })
    }));
    let (results, ()) = tokio::join!(all, async {
        while flights.joined() < 99 {
            tokio::task::yield_now().await;
        }
        gated.gate.notify_one();
    });
    assert_eq!(results[0], (Begun::Here, Ok(0)));
    assert!(results[1..].iter().all(|result| *result == (Begun::Before, Ok(0))));
    assert_eq!(gated.begun(), 1);

    gated.gate.notify_one();
    assert_eq!(flights.run("key", || gated.work(1_000)).await, (Begun::Here, Ok(1_000)));
    assert_eq!((gated.begun(), flights.joined()), (2, 99));
    assert!(flights.inner.table().flights.is_empty());
}

#[tokio::test]
async fn the_others_go_on_when_the_first_goes_away() {
    let (flights, gated) = (Flights::new(), Gated::default());
    let mut first = Box::pin(flights.run("key", || gated.work(1)));
    let mut second = Box::pin(flights.run("key", || gated.work(2)));
    assert!(futures::poll!(&mut first).is_pending() && futures::poll!(&mut second).is_pending());
    drop(first);
    gated.gate.notify_one();
    assert_eq!(second.await, (Begun::Before, Ok(1)));
    assert_eq!(gated.begun(), 1);
}

#[tokio::test]
async fn work_that_nobody_waits_for_ends_and_is_forgotten() {
    let (flights, gated) = (Flights::new(), Gated::default());
    let mut only = Box::pin(flights.run("key", || gated.work(1)));
    assert!(futures::poll!(&mut only).is_pending());
    drop(only);
    assert!(flights.inner.table().flights.is_empty());
    gated.gate.notify_one();
    assert_eq!(flights.run("key", || gated.work(2)).await, (Begun::Here, Ok(2)));
}

#[tokio::test]
async fn a_panic_is_everybodys_and_the_next_caller_begins_anew() {
    let flights = Flights::<_, u32>::new();
    let gate = Arc::new(Notify::new());
    let failing = || {
        let gate = Arc::clone(&gate);
        async move {
            gate.notified().await;
            panic!("on purpose")
        }
    };
    let mut both = Box::pin(join_all((0..2).map(|_| flights.run("key", failing))));
    assert!(futures::poll!(&mut both).is_pending());
    gate.notify_one();
    for (_, result) in both.await {
        assert_eq!(result.unwrap_err().message, "on purpose");
    }
    assert_eq!(flights.run("key", async || 5).await, (Begun::Here, Ok(5)));
}

#[tokio::test]
async fn other_keys_with_the_same_hash_have_results_of_their_own() {
    let flights = Colliding::with_hasher(BuildHasherDefault::default());
    let gated = Gated::default();
    // Thrice each, more of them than are kept.
    let keys: Vec<u32> = (0..30).map(|number| number % 10).collect();
    let mut all = Box::pin(join_all(keys.iter().map(|key| flights.run(*key, || gated.work(*key)))));
    assert!(futures::poll!(&mut all).is_pending());
    let kept = u64::try_from(MAX_ALIKE).unwrap();
    assert_eq!(flights.joined(), 2 * kept);
    assert_eq!(gated.begun(), 30 - 2 * MAX_ALIKE);
    gated.gate.notify_waiters();
    for (key, (_, result)) in keys.iter().zip(all.await) {
        assert_eq!(result, Ok(*key));
    }
    assert!(flights.inner.table().flights.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn on_many_threads_no_two_of_the_same_are_under_way_at_once() {
    let flights = Flights::<u64, u64>::new();
    let running: Arc<Vec<AtomicUsize>> = Arc::new((0..3).map(|_| AtomicUsize::new(0)).collect());
    let callers = (0..8).map(|caller| {
        let flights = flights.clone();
        let running = Arc::clone(&running);
        tokio::spawn(async move {
            for number in 0..2_000_u64 {
                let key = (number + caller) % 3;
                let running = Arc::clone(&running);
                let work = || async move {
                    let place = &running[usize::try_from(key).unwrap()];
                    assert_eq!(place.fetch_add(1, Ordering::SeqCst), 0);
                    tokio::task::yield_now().await;
                    place.fetch_sub(1, Ordering::SeqCst);
                    key
                };
                assert_eq!(flights.run(key, work).await.1, Ok(key));
            }
        })
    });
    for caller in join_all(callers).await {
        caller.unwrap();
    }
    assert!(flights.inner.table().flights.is_empty());
}

#[tokio::test]
async fn inputs_are_equal_only_byte_by_byte_wherever_they_differ() {
    let hasher = RandomState::default();
    for length in [0, 1, WHOLE_BYTES, WHOLE_BYTES + 1, 100_000, 4 << 20] {
        let input = Input(vec![3; length].into());
        assert_eq!(hasher.hash_one(&input), hasher.hash_one(Input(vec![3; length].into())));
        for place in [0, length / 2, length.saturating_sub(1), length / 3 + 1] {
            let mut other = vec![3; length];
            let Some(byte) = other.get_mut(place) else { continue };
            *byte = 4;
            let other = Input(other.into());
            assert_ne!(input, other, "{place} of {length}");
            let flights = Flights::<Input, u32>::new();
            let mut first = Box::pin(flights.run(input.clone(), pending::<u32>));
            assert!(futures::poll!(&mut first).is_pending());
            assert_eq!(flights.run(other, async || 1).await, (Begun::Here, Ok(1)), "{place} of {length}");
        }
    }
}

#[tokio::test]
async fn looking_costs_little_for_inputs_that_are_alone() {
    let flights = Flights::<Input, usize>::new();
    let input = Input(vec![9; 4 << 20].into());
    let began = Instant::now();
    for number in 0..1_000 {
        assert_eq!(flights.run(input.clone(), || std::future::ready(number)).await, (Begun::Here, Ok(number)));
    }
    // Each reads 4 KiB. Reading all 4 GiB would take longer on the fastest machine.
    assert!(began.elapsed() < Duration::from_millis(250), "{:?}", began.elapsed());
}
