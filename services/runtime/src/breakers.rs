//! What circuit breakers do, as metrics.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use hashmesh_middleware::breaker::{Breaker, BreakerState};

use crate::metrics::{
    Watch,
    catalogue::rpc::{BREAKER_OPENED, BREAKER_REFUSED, BREAKER_STATE},
};

/// Those that are watched, by their names. Several may stand in front of one thing: roles that share a process, or one role
/// that asks for two purposes.
static WATCHED: Mutex<Vec<(String, Weak<Breaker>)>> = Mutex::new(Vec::new());

/// Exports what a breaker does as long as this is kept. `name` says what it stands in front of, and is a label: no secret, and
/// nothing of which there is any number. Of several with one name the calls add up, and the worst state is exported.
#[must_use = "it is exported as long as this lives"]
pub fn watch_breaker(name: &str, breaker: &Arc<Breaker>) -> Vec<Watch> {
    let mut watched = watched();
    watched.retain(|(_, other)| other.strong_count() > 0);
    watched.push((name.to_owned(), Arc::downgrade(breaker)));
    drop(watched);
    let weak = || Arc::downgrade(breaker);
    let (refused, opened, state, named) = (weak(), weak(), weak(), name.to_owned());
    #[allow(clippy::cast_precision_loss)] // never that many
    let number = |number: u64| number as f64;
    let labels = [name];
    vec![
        BREAKER_STATE.watch(&labels, move || exported_state(&named, &state)),
        BREAKER_REFUSED
            .watch(&labels, move || refused.upgrade().map_or(0.0, |breaker| number(breaker.stats().refused))),
        BREAKER_OPENED.watch(&labels, move || opened.upgrade().map_or(0.0, |breaker| number(breaker.stats().opened))),
    ]
}

/// The state of a breaker, if no other of its name is worse; else 0, because what is watched adds up.
fn exported_state(name: &str, breaker: &Weak<Breaker>) -> f64 {
    // Cloned: the last owner of a breaker may end a watch, and nothing is ended under the lock.
    let alike: Vec<_> = watched().iter().filter(|(other, _)| other == name).map(|(_, other)| other.clone()).collect();
    let states = alike.iter().map(|other| other.upgrade().map_or(0, |other| rank(other.stats().state)));
    let mut worst = (0, None);
    for (other, rank) in alike.iter().zip(states) {
        if rank > worst.0 {
            worst = (rank, Some(other));
        }
    }
    match worst {
        (rank, Some(other)) if other.ptr_eq(breaker) => f64::from(rank),
        _ => 0.0,
    }
}

fn rank(state: BreakerState) -> u8 {
    match state {
        BreakerState::Closed => 0,
        BreakerState::HalfOpen => 1,
        BreakerState::Open => 2,
    }
}

fn watched() -> MutexGuard<'static, Vec<(String, Weak<Breaker>)>> {
    // No code panics while it holds the lock.
    WATCHED.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use hashmesh_middleware::breaker::BreakerConfig;

    use super::*;

    fn watched_breaker(name: &str) -> Arc<Breaker> {
        let breaker = Breaker::new(name, BreakerConfig::default());
        breaker.keep(watch_breaker(name, &breaker));
        breaker
    }

    fn trip(breaker: &Arc<Breaker>) {
        (0..5).for_each(|_| breaker.enter().unwrap().failed());
    }

    fn exported(name: &str) -> f64 {
        let alike: Vec<_> = watched().iter().filter(|(other, _)| other == name).map(|(_, weak)| weak.clone()).collect();
        alike.iter().map(|breaker| exported_state(name, breaker)).sum()
    }

    #[tokio::test(start_paused = true)]
    async fn of_breakers_with_one_name_the_worst_state_is_exported_once() {
        let name = "one name of a test";
        let breakers = [watched_breaker(name), watched_breaker(name), watched_breaker(name)];
        assert!(exported(name).abs() < f64::EPSILON);
        breakers[1..].iter().for_each(trip);
        assert!((exported(name) - 2.0).abs() < f64::EPSILON);
        drop(breakers);
        assert!(exported(name).abs() < f64::EPSILON);
    }
}
