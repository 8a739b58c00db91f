//! The rules, against a model that remembers every call.

use std::time::Duration;

use proptest::prelude::*;

use super::{Ask, Limit, PARTS, Taken, Window, Windows};

const LIMIT: Limit = Limit { calls: 10, window: Duration::from_millis(1_200) };

fn at(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn take(window: &mut Window, now: Duration, limit: Limit) -> bool {
    let fits = window.look(now, limit, 1).is_ok();
    if fits {
        window.count(now, limit, 1);
    }
    fits
}

proptest! {
    #[test]
    fn no_stretch_of_a_window_has_more_than_the_limit_and_none_is_counted_a_part_too_long(
        waits in proptest::collection::vec(0_u64..300, 1..400),
    ) {
        let (mut window, mut admitted, mut now) = (Window::default(), Vec::new(), 5_000);
        let part = LIMIT.window.as_millis() as u64 / u64::from(PARTS);
        for wait in waits {
            now += wait;
            let within = |length: u64| admitted.iter().filter(|then| now - **then < length).count() as u32;
            let (window_ms, fits) = (LIMIT.window.as_millis() as u64, take(&mut window, at(now), LIMIT));
            if fits {
                prop_assert!(within(window_ms) < LIMIT.calls, "the window is full");
                admitted.push(now);
            } else {
                prop_assert!(within(window_ms + part) >= LIMIT.calls, "there was a place");
            }
        }
    }

    #[test]
    fn a_refused_call_fits_when_it_was_told_it_would(waits in proptest::collection::vec(0_u64..200, 1..200)) {
        let (mut window, mut now) = (Window::default(), 0);
        for wait in waits {
            now += wait;
            if let Err(state) = window.look(at(now), LIMIT, 1) {
                let told = state.reset_after;
                prop_assert!(told <= LIMIT.window + LIMIT.window / PARTS);
                prop_assert!(window.clone().look(at(now) + told - at(1), LIMIT, 1).is_err(), "too late");
                prop_assert!(window.clone().look(at(now) + told, LIMIT, 1).is_ok(), "too early");
            } else {
                window.count(at(now), LIMIT, 1);
            }
        }
    }
}

#[test]
fn a_thousand_attempts_within_a_window_admit_exactly_the_limit() {
    let (mut window, limit) = (Window::default(), Limit::per_minute(100));
    let admitted = (0..1_000).filter(|attempt| take(&mut window, at(attempt * 59), limit)).count();
    assert_eq!(admitted, 100);
}

#[test]
fn what_is_left_is_told_at_every_call() {
    let (mut window, limit) = (Window::default(), Limit::per_minute(2));
    let mut left = || {
        let look = window.look(at(0), limit, 1);
        window.count(at(0), limit, u32::from(look.is_ok()));
        look.map(|state| state.remaining).map_err(|state| state.remaining)
    };
    assert_eq!([left(), left(), left()], [Ok(1), Ok(0), Err(0)]);
}

#[tokio::test(start_paused = true)]
async fn a_call_is_counted_in_all_of_its_windows_or_in_none() {
    let windows = Windows::new(100, Duration::from_secs(60));
    let ask = |name: &str, calls| Ask { name: name.to_owned(), limit: Limit::per_minute(calls) };
    let both = [ask("address", 5), ask("key", 2)];
    let admitted = |asks: &[Ask]| windows.take(asks).unwrap().admitted;
    assert!(admitted(&both) && admitted(&both) && !admitted(&both) && !admitted(&both));
    let refused = windows.take(&both).unwrap();
    assert_eq!(both[refused.which].name, "key");
    // The refused ones took nothing of the other.
    assert_eq!(windows.take(&both[..1]).unwrap().tightest.remaining, 2);
    assert_eq!(windows.take(&[]), None);

    // What somebody else admitted counts here too.
    windows.count(&both[..1]);
    windows.count(&both[..1]);
    assert!(!admitted(&both[..1]));
    tokio::time::advance(Duration::from_millis(60_500)).await;
    assert!(admitted(&both));
}

#[test]
fn of_several_windows_the_tightest_is_told() {
    let mut small = Window::default();
    small.count(at(0), LIMIT, LIMIT.calls);
    let refused = small.look(at(600), LIMIT, 1);
    let free = Window::default().look(at(0), Limit::per_minute(5), 1);
    let taken = Taken::of([free, refused]).unwrap();
    assert_eq!((taken.admitted, Err(taken.tightest)), (false, refused));
    assert!(Taken::of([free]).unwrap().admitted);
}
