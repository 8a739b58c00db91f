//! What is known: the last answer, the one before, and since when there is none.

use std::time::{Duration, Instant, SystemTime};

use hashmesh::client::ClientError;

use super::{
    changes::Changes,
    poll::{Answer, Asked},
};

/// What is known so far.
#[derive(Debug)]
pub(super) struct State {
    pub(super) last: Option<Answer>,
    /// Between the last two answers without a failure between them.
    pub(super) changes: Option<Changes>,
    pub(super) outage: Option<Outage>,
    /// How long a first answer is waited for.
    patience: Duration,
}

/// The mesh does not answer.
#[derive(Debug)]
pub(super) struct Outage {
    began: Instant,
    pub(super) since: SystemTime,
    pub(super) error: ClientError,
}

impl State {
    pub(super) fn new(patience: Duration) -> Self {
        Self { last: None, changes: None, outage: None, patience }
    }

    /// Takes in what came of asking.
    ///
    /// # Errors
    /// If asking again is of no use: the mesh refused, or has never answered.
    pub(super) fn take(&mut self, asked: Asked) -> Result<(), ClientError> {
        match asked {
            Ok(answer) => {
                let before = self.last.take().filter(|_| self.outage.is_none());
                self.changes = before.map(|before| {
                    Changes::between(&before.stats, &answer.stats, answer.came.duration_since(before.came))
                });
                self.last = Some(answer);
                self.outage = None;
                Ok(())
            }
            Err(ClientError::Unreachable { server, last, .. }) => {
                let (began, since) = match &self.outage {
                    Some(outage) => (outage.began, outage.since),
                    None => (Instant::now(), SystemTime::now()),
                };
                let error = ClientError::Unreachable { server, waited: began.elapsed(), last };
                if self.last.is_none() && began.elapsed() >= self.patience {
                    return Err(error);
                }
                self.changes = None;
                self.outage = Some(Outage { began, since, error });
                Ok(())
            }
            Err(refused) => Err(refused),
        }
    }

    /// Why there was no answer to the last question.
    pub(super) fn into_error(self) -> Option<ClientError> {
        self.outage.map(|outage| outage.error)
    }
}

impl Outage {
    /// Since when, and why, on one line.
    pub(super) fn line(&self) -> String {
        format!("no answer since {}: {}", time(self.since), self.error)
    }
}

/// A time in UTC.
pub(super) fn time(at: SystemTime) -> impl std::fmt::Display {
    humantime::format_rfc3339_seconds(at)
}

#[cfg(test)]
mod tests {
    use hashmesh::gateway::v1::GetStatsResponse;
    use tonic::Status;

    use super::*;

    fn answer() -> Asked {
        let stats = GetStatsResponse::default().into();
        Ok(Answer { stats, version: "1".into(), came: Instant::now(), came_at: SystemTime::now() })
    }

    fn silence() -> Asked {
        let last = Status::unavailable("gone");
        Err(ClientError::Unreachable { server: "x".into(), waited: Duration::ZERO, last })
    }

    #[test]
    fn an_outage_keeps_the_last_answer_and_says_since_when_and_why() {
        let mut state = State::new(Duration::ZERO);
        state.take(answer()).unwrap();
        state.take(answer()).unwrap();
        assert!(state.changes.is_some());
        state.take(silence()).unwrap();
        let since = state.outage.as_ref().unwrap().since;
        state.take(silence()).unwrap();
        assert_eq!(state.outage.as_ref().unwrap().since, since);
        let line = state.outage.as_ref().unwrap().line();
        assert!(line.starts_with("no answer since 2") && line.contains("Z: x ") && line.ends_with("gone"), "{line}");
        assert!(state.last.is_some() && state.changes.is_none());
        // The counters on both sides of an outage may be those of different processes.
        state.take(answer()).unwrap();
        assert!(state.outage.is_none() && state.changes.is_none());
    }

    #[test]
    fn a_mesh_that_has_never_answered_is_waited_for_only_so_long() {
        assert!(State::new(Duration::from_secs(60)).take(silence()).is_ok());
        assert!(State::new(Duration::ZERO).take(silence()).is_err());
    }

    #[test]
    fn a_refusal_is_the_end_whenever_it_comes() {
        let mut state = State::new(Duration::from_secs(60));
        state.take(answer()).unwrap();
        let refused = ClientError::Refused(Status::unauthenticated("no such key"));
        assert!(matches!(state.take(Err(refused)), Err(ClientError::Refused(_))));
    }
}
