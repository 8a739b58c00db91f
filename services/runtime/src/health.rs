//! Whether a role does its work, and why not. Feeds `grpc.health.v1` and `/readyz`.

use std::sync::Arc;

use tokio::sync::watch;

/// The health of one role in this process. Clones share it.
///
/// Starts as not serving ("starting"), may change at any time, and is final once [`Health::stop`] was called: a role
/// that recovers while the process drains does not attract new calls.
#[derive(Clone, Debug)]
pub struct Health {
    state: Arc<watch::Sender<State>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct State {
    /// `None` while serving.
    why_not: Option<String>,
    stopped: bool,
}

impl Default for Health {
    fn default() -> Self {
        Self::new()
    }
}

impl Health {
    /// Not serving: "starting".
    #[must_use]
    pub fn new() -> Self {
        let state = State { why_not: Some("starting".to_owned()), stopped: false };
        Self { state: Arc::new(watch::Sender::new(state)) }
    }

    /// The role does its work.
    pub fn serving(&self) {
        self.change(None, false);
    }

    /// The role cannot do its work at the moment; `why` is for people, short, lowercase.
    pub fn not_serving(&self, why: impl Into<String>) {
        self.change(Some(why.into()), false);
    }

    /// The role stops. Nothing said later changes that.
    pub fn stop(&self, why: impl Into<String>) {
        self.change(Some(why.into()), true);
    }

    /// Whether the role serves.
    ///
    /// # Errors
    /// Why it does not.
    pub fn state(&self) -> Result<(), String> {
        result(&self.state.borrow())
    }

    /// Follows the changes from now on.
    #[must_use]
    pub fn watch(&self) -> HealthWatch {
        HealthWatch { state: self.state.subscribe() }
    }

    /// Waits until the role serves; returns at once if it does.
    pub async fn wait_serving(&self) {
        let mut state = self.state.subscribe();
        // Cannot fail: `self` holds the sender.
        let _serving = state.wait_for(|state| state.why_not.is_none()).await;
    }

    /// Serves as long as at least one of these does, from now on; ends never. For roles that stand in for each other.
    pub async fn follow_any(self, of: Vec<Self>) {
        let mut watches: Vec<HealthWatch> = of.iter().map(Self::watch).collect();
        loop {
            let states: Vec<Result<(), String>> = watches.iter_mut().map(HealthWatch::state).collect();
            match states.into_iter().reduce(Result::or) {
                Some(Ok(())) => self.serving(),
                Some(Err(why)) => self.not_serving(why),
                None => {}
            }
            if watches.is_empty() {
                return;
            }
            // Those that changed while others were looked at have not been seen as changed.
            futures::future::select_all(watches.iter_mut().map(|watch| Box::pin(watch.changed()))).await;
        }
    }

    fn change(&self, why_not: Option<String>, stopped: bool) {
        self.state.send_if_modified(|state| {
            let changes = !state.stopped && (state.why_not != why_not || stopped);
            if changes {
                *state = State { why_not, stopped };
            }
            changes
        });
    }
}

/// Sees the changes of a [`Health`]. Changes that follow each other quickly may be seen as one.
#[derive(Clone, Debug)]
pub struct HealthWatch {
    state: watch::Receiver<State>,
}

impl HealthWatch {
    /// The present state, marked as seen.
    ///
    /// # Errors
    /// Why the role does not serve.
    pub fn state(&mut self) -> Result<(), String> {
        result(&self.state.borrow_and_update())
    }

    /// Waits for a change since the state was last seen. `false` if there can be none any more.
    pub async fn changed(&mut self) -> bool {
        self.state.changed().await.is_ok()
    }
}

fn result(state: &State) -> Result<(), String> {
    state.why_not.clone().map_or(Ok(()), Err)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn health_starts_as_not_serving_and_changes_both_ways() {
        let health = Health::new();
        assert_eq!(health.state(), Err("starting".to_owned()));
        health.serving();
        assert_eq!(health.state(), Ok(()));
        health.not_serving("database unreachable");
        assert_eq!(health.state(), Err("database unreachable".to_owned()));
    }

    #[test]
    fn a_stopped_role_never_serves_again() {
        let health = Health::new();
        health.stop("draining");
        health.serving();
        assert_eq!(health.state(), Err("draining".to_owned()));
    }

    #[tokio::test]
    async fn of_several_one_that_serves_is_enough() {
        let (all, one, other) = (Health::new(), Health::new(), Health::new());
        let follow = tokio::spawn(all.clone().follow_any(vec![one.clone(), other.clone()]));
        let mut seen = all.watch();
        other.serving();
        all.wait_serving().await;
        one.serving();
        other.not_serving("gone");
        tokio::task::yield_now().await;
        assert_eq!(all.state(), Ok(()));
        seen.state().unwrap();
        one.not_serving("gone, too");
        assert!(seen.changed().await);
        assert_eq!(seen.state(), Err("gone".to_owned()));
        follow.abort();
    }

    #[tokio::test]
    async fn a_watch_sees_changes_but_no_repetition() {
        let health = Health::new();
        let mut watch = health.watch();
        health.serving();
        assert!(watch.changed().await);
        assert_eq!(watch.state(), Ok(()));
        health.serving();
        drop(health);
        assert!(!watch.changed().await);
    }
}
