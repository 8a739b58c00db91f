//! Questions that every process of the Queue answers for what it owns.

use futures::{StreamExt as _, stream::FuturesUnordered};
use hashmesh_runtime::channel::Guarded;
use tokio::time::{Duration, Instant, sleep_until};
use tonic::{Response, Status};

use super::{LOG, PATIENCE, QueueProcess, QueueUpstream, Repeat, Route, Verdict, judge};
use crate::{deadline::Deadline, error};

/// How long the others are waited for once one has answered.
const MOMENT: Duration = Duration::from_secs(1);

/// A process that was asked.
#[derive(Debug)]
pub(crate) struct Asked<T> {
    pub(crate) process: QueueProcess,
    /// `None`: it has not answered in time.
    pub(crate) answer: Option<Result<T, Status>>,
}

/// Asks every process of the Queue the same.
macro_rules! ask_each {
    ($queue:expr, $client:path, $deadline:expr, $method:ident($request:expr)) => {{
        let (message, deadline): (_, $crate::deadline::Deadline) = ($request, $deadline);
        let send = |channel| {
            let request = deadline.forward(message.clone());
            async move { $client(channel).$method(request).await }
        };
        $queue.each(deadline, send).await
    }};
}
pub(crate) use ask_each;

impl<T> Asked<T> {
    /// The answer, and whose it is.
    pub(crate) fn ok(self) -> Option<(QueueProcess, T)> {
        let answer = self.answer?.ok()?;
        Some((self.process, answer))
    }

    fn answered(&self) -> bool {
        self.answer.as_ref().is_some_and(Result::is_ok)
    }
}

impl QueueUpstream {
    /// Asks every process that owns or takes shards, ordered by address, what changes nothing or the same a second time. Who
    /// does not answer within a moment is left out, if anybody did; errors are as clients see them.
    ///
    /// # Errors
    /// Nobody has answered what was asked: what one of them said.
    pub(crate) async fn each<T, F>(
        &self,
        deadline: Deadline,
        mut send: impl FnMut(Guarded) -> F,
    ) -> Result<Vec<Asked<T>>, Status>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let began = Instant::now();
        let rounds = async {
            loop {
                let Some(asked) = self.round(&mut send).await else { break };
                if asked.iter().any(Asked::answered) {
                    return Ok(asked.into_iter().map(Asked::told).collect());
                }
                let status =
                    asked.into_iter().find_map(|asked| asked.answer?.err()).unwrap_or_else(super::changing_hands);
                let later = matches!(judge(&status), Verdict::NotExecuted { .. } | Verdict::Recovering);
                if !later || began.elapsed() >= PATIENCE {
                    return Err(error::from_upstream(&LOG, &status));
                }
                self.pause(Route::Any, None).await;
            }
            // One does all.
            let answer = self.attempt(Route::Any, Repeat::Safe, false, |target| send(target.shared())).await?;
            let address = self.directory().current().url().to_owned();
            let shards = hashmesh::shards::SHARDS.into();
            let process = QueueProcess { id: String::new(), address, shards, first: true };
            Ok(vec![Asked { process, answer: Some(Ok(answer.into_inner())) }])
        };
        deadline.limit(rounds).await
    }

    /// Asks everybody once. `None`: nobody shares.
    async fn round<T, F>(&self, send: &mut impl FnMut(Guarded) -> F) -> Option<Vec<Asked<T>>>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let processes = self.directory().processes()?;
        let moment = Instant::now() + MOMENT;
        let mut answers = FuturesUnordered::new();
        let mut asked = Vec::with_capacity(processes.len());
        for (place, (process, target)) in processes.into_iter().enumerate() {
            let answer = send(target.shared());
            answers.push(async move { (place, answer.await) });
            asked.push(Asked { process, answer: None });
        }
        loop {
            let any = asked.iter().any(Asked::answered);
            tokio::select! {
                biased;
                answer = answers.next() => {
                    let Some((place, answer)) = answer else { break };
                    asked[place].answer = Some(answer.map(Response::into_inner));
                }
                () = sleep_until(moment), if any => break,
            }
        }
        Some(asked)
    }
}

impl<T> Asked<T> {
    fn told(self) -> Self {
        let answer = self.answer.map(|answer| answer.map_err(|status| error::from_upstream(&LOG, &status)));
        Self { process: self.process, answer }
    }
}
