//! What one host is asked for at a time: requests, bytes a second, and nothing while it is unwell or wants a rest.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use hashmesh::error::TaskReason;
use hashmesh_middleware::breaker::{Attempt, Breaker, BreakerConfig};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, sleep_until, timeout_at},
};

use crate::sources::Failure;

/// Who has not got its turn by then goes back to the queue, uncharged: well below the time after which a lease without
/// progress is taken for a hung worker (60 s).
const LONGEST_WAIT: Duration = Duration::from_secs(20);

/// What goes back for want of a turn comes again after this long.
const BUSY_DELAY: Duration = Duration::from_secs(5);

/// Hosts remembered without being asked for anything.
const MOST_IDLE: usize = 1_024;

/// The longest rest that a host is given, whatever it asks for.
const LONGEST_REST: Duration = Duration::from_secs(3_600);

/// What each host is asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HostLimits {
    /// Requests under way.
    pub(crate) requests: usize,
    /// Bytes a second; 0: as many as come.
    pub(crate) bytes_per_second: u64,
}

/// All hosts that were asked for something.
#[derive(Debug)]
pub(super) struct Hosts {
    limits: HostLimits,
    hosts: Mutex<HashMap<String, Arc<Host>>>,
}

/// One of them: scheme, name and port.
#[derive(Debug)]
pub(super) struct Host {
    limits: HostLimits,
    permits: Arc<Semaphore>,
    breaker: Arc<Breaker>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// It asked for a rest until then.
    rests_until: Option<Instant>,
    /// What has been read so far has used up the time until then.
    paced_until: Instant,
}

/// A request that may be made; its place is taken until this is dropped.
#[derive(Debug)]
pub(super) struct Turn {
    pub(super) host: Arc<Host>,
    pub(super) attempt: Attempt,
    _permit: OwnedSemaphorePermit,
}

impl Hosts {
    pub(super) fn new(limits: HostLimits) -> Self {
        Self { limits, hosts: Mutex::default() }
    }

    /// The host of this name.
    pub(super) fn named(&self, name: &str) -> Arc<Host> {
        // A map is whole between any two calls.
        let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(host) = hosts.get(name) {
            return Arc::clone(host);
        }
        if hosts.len() >= MOST_IDLE {
            hosts.retain(|_, host| Arc::strong_count(host) > 1);
        }
        let host = Arc::new(Host::new(name, self.limits));
        hosts.insert(name.to_owned(), Arc::clone(&host));
        host
    }
}

impl Host {
    fn new(name: &str, limits: HostLimits) -> Self {
        // Longer than between our own processes: it may be anything, and tasks wait elsewhere meanwhile.
        let config = BreakerConfig {
            open_for: Duration::from_secs(1),
            open_for_at_most: Duration::from_secs(30),
            hangs_after: Duration::from_secs(10),
            ..BreakerConfig::default()
        };
        Self {
            limits,
            permits: Arc::new(Semaphore::new(limits.requests.clamp(1, Semaphore::MAX_PERMITS))),
            breaker: Breaker::new(name, config),
            state: Mutex::new(State { rests_until: None, paced_until: Instant::now() }),
        }
    }

    /// Waits for a turn.
    pub(super) async fn turn(self: &Arc<Self>) -> Result<Turn, Failure> {
        let until = Instant::now() + LONGEST_WAIT;
        // Never closed.
        let permit = timeout_at(until, Arc::clone(&self.permits).acquire_owned());
        let Ok(Ok(permit)) = permit.await else { return Err(busy()) };
        // With the place in hand: what others were told meanwhile holds for this one too.
        while let Some(rests_until) = self.rests_until() {
            if rests_until > until {
                return Err(throttled(rests_until - Instant::now()));
            }
            sleep_until(rests_until).await;
        }
        let attempt = self.breaker.enter().map_err(|open| unwell(open.retry_after))?;
        Ok(Turn { host: Arc::clone(self), attempt, _permit: permit })
    }

    fn rests_until(&self) -> Option<Instant> {
        self.state().rests_until.filter(|rests_until| *rests_until > Instant::now())
    }

    /// It asks to be left alone for this long. Returns for how long it will be.
    pub(super) fn rest(&self, wanted: Duration) -> Duration {
        let rest = wanted.min(LONGEST_REST);
        let until = Instant::now() + rest;
        let mut state = self.state();
        state.rests_until = state.rests_until.max(Some(until));
        rest
    }

    /// So many bytes came: waits until more may.
    pub(super) async fn pace(&self, bytes: usize) {
        if self.limits.bytes_per_second == 0 {
            return;
        }
        let until = {
            let mut state = self.state();
            state.paced_until = next_pace(Instant::now(), state.paced_until, bytes, self.limits.bytes_per_second);
            state.paced_until
        };
        sleep_until(until).await;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // No code panics while it holds the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// When bytes that come now have had their time. What was not used before is lost.
fn next_pace(now: Instant, paced_until: Instant, bytes: usize, bytes_per_second: u64) -> Instant {
    #[allow(clippy::cast_precision_loss)] // a time, to the microsecond
    let time = Duration::from_secs_f64(bytes as f64 / bytes_per_second.max(1) as f64);
    paced_until.max(now) + time
}

/// It asked for a rest of this length.
pub(super) fn throttled(retry_after: Duration) -> Failure {
    let message = "the object's host asks to be left alone for a while";
    Failure { retry_after: Some(retry_after), ..Failure::retryable(TaskReason::SourceThrottled, message) }
}

fn busy() -> Failure {
    let message = "this worker asks the object's host for as much as it may";
    let retryable = Failure::retryable(TaskReason::SourceThrottled, message);
    Failure { uncharged: true, retry_after: Some(BUSY_DELAY), ..retryable }
}

fn unwell(retry_after: Duration) -> Failure {
    let message = "the object's host failed several times in a row and is not asked for a while";
    Failure { retry_after: Some(retry_after), ..Failure::retryable(TaskReason::SourceUnreadable, message) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(requests: usize) -> Arc<Host> {
        Hosts::new(HostLimits { requests, bytes_per_second: 0 }).named("http://example.com/")
    }

    #[tokio::test(start_paused = true)]
    async fn who_gets_no_turn_goes_back_uncharged_long_before_it_looks_hung() {
        let host = host(1);
        let first = host.turn().await.unwrap();
        let began = Instant::now();
        let failure = host.turn().await.unwrap_err();
        assert_eq!((failure.reason, failure.uncharged), ("SOURCE_THROTTLED", true));
        assert!(began.elapsed() < Duration::from_secs(30));
        drop(first);
        host.turn().await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_host_that_asks_for_a_rest_gets_it() {
        let host = host(8);
        host.rest(Duration::from_secs(3));
        let began = Instant::now();
        host.turn().await.unwrap();
        assert_eq!(began.elapsed().as_secs(), 3);
        host.rest(Duration::from_secs(300));
        let failure = host.turn().await.unwrap_err();
        assert_eq!((failure.reason, failure.uncharged), ("SOURCE_THROTTLED", false));
        assert_eq!(failure.retry_after.unwrap().as_secs(), 300);
        assert_eq!(host.rest(Duration::from_secs(1_000_000)).as_secs(), 3_600);
    }

    #[tokio::test(start_paused = true)]
    async fn a_host_that_fails_again_and_again_is_not_asked() {
        let host = host(8);
        for _ in 0..5 {
            host.turn().await.unwrap().attempt.failed();
        }
        let failure = host.turn().await.unwrap_err();
        assert_eq!((failure.reason, failure.retryable, failure.uncharged), ("SOURCE_UNREADABLE", true, false));
        tokio::time::sleep(failure.retry_after.unwrap()).await;
        host.turn().await.unwrap().attempt.succeeded();
        host.turn().await.unwrap();
    }

    #[test]
    fn bytes_have_their_time_and_what_was_not_used_is_lost() {
        let now = Instant::now();
        let one = next_pace(now, now, 500, 1_000);
        let two = next_pace(now, one, 1_000, 1_000);
        assert_eq!((two - now).as_millis(), 1_500);
        let later = now + Duration::from_secs(10);
        assert_eq!((next_pace(later, two, 1_000, 1_000) - later).as_millis(), 1_000);
    }

    #[test]
    fn hosts_that_nobody_asks_are_forgotten() {
        let hosts = Hosts::new(HostLimits { requests: 1, bytes_per_second: 0 });
        let kept = hosts.named("kept");
        for number in 0..2 * MOST_IDLE {
            hosts.named(&number.to_string());
        }
        assert!(hosts.hosts.lock().unwrap().len() <= MOST_IDLE);
        assert!(Arc::ptr_eq(&kept, &hosts.named("kept")));
    }
}
