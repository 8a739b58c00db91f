//! Waiting for a fact, level-triggered: asked again and again until it holds.

use std::{
    fmt::Debug,
    future::Future,
    time::{Duration, Instant},
};

/// What nothing on a busy machine should take. Waiting this long means that it never happens.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// Between two questions.
const POLL: Duration = Duration::from_millis(10);

/// Waiting that comes to an end.
#[derive(Debug)]
pub(crate) struct Patience {
    what: String,
    within: Duration,
    started: Instant,
}

impl Patience {
    pub(crate) fn new(what: &str, within: Duration) -> Self {
        Self { what: what.to_owned(), within, started: Instant::now() }
    }

    /// Between two questions.
    ///
    /// # Panics
    /// Once it is at an end, with what was waited for.
    pub(crate) async fn pause(&self) {
        let Self { what, within, started } = self;
        assert!(started.elapsed() < *within, "waited {within:?} in vain: {what}");
        tokio::time::sleep(POLL).await;
    }
}

/// Asks until there is an answer.
///
/// # Panics
/// After `within`, with `what` was waited for.
pub(crate) async fn until<T>(what: &str, within: Duration, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let patience = Patience::new(what, within);
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        patience.pause().await;
    }
}

/// The same for a question that a value answers: gives the first that satisfies, and says at the end what the last was.
pub(crate) async fn until_value<T: Debug>(
    what: &str,
    within: Duration,
    mut ask: impl AsyncFnMut() -> T,
    satisfies: impl Fn(&T) -> bool,
) -> T {
    let started = Instant::now();
    loop {
        let value = ask().await;
        if satisfies(&value) {
            return value;
        }
        assert!(started.elapsed() < within, "waited {within:?} in vain: {what}; it is {value:?}");
        tokio::time::sleep(POLL).await;
    }
}

/// An answer to the opening of a stream, before it is opened again. What is sent in the moment in which its connection is closed may
/// never be answered, not even with an error: an unbounded channel of tokio's keeps what is put into it while its receiver is
/// dropped, and hyper's client waits for that. So whoever opens a stream has to have a limit, as our own client has.
pub(crate) const ANSWERED_WITHIN: Duration = Duration::from_secs(PATIENCE.as_secs() / 3);

/// What a future gives, which must not take longer than [`PATIENCE`].
pub(crate) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    within(PATIENCE, what, future).await
}

/// What a future gives, which must not take longer than `limit`.
pub(crate) async fn within<T>(limit: Duration, what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(limit, future).await {
        Ok(value) => value,
        Err(_) => panic!("waited {limit:?} in vain: {what}"),
    }
}

/// Checks that a future stays unfinished for a while. For what must *not* happen there is no fact to wait for.
pub(crate) async fn stays_pending<T: Debug>(what: &str, during: Duration, future: impl Future<Output = T>) {
    if let Ok(value) = tokio::time::timeout(during, future).await {
        panic!("{what}: it ended with {value:?}");
    }
}
