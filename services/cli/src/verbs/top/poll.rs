//! Asks the mesh at each interval.

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use futures::{Stream, stream};
use hashmesh::{
    client::{Client, ClientError},
    gateway::v1::GetStatsResponse,
};
use tokio::time::{Interval, MissedTickBehavior};

/// An answer of the mesh.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) stats: Arc<GetStatsResponse>,
    /// The Gateway's.
    pub(super) version: Arc<str>,
    pub(super) came: Instant,
    pub(super) came_at: SystemTime,
}

/// What came of asking once.
pub(super) type Asked = Result<Answer, ClientError>;

/// How long one answer is waited for: longer than a mesh under load takes, short enough to tell that it is gone.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

#[derive(Debug)]
struct Poll {
    client: Client,
    interval: Interval,
    /// Asked again after each failure: what answers then may be another.
    version: Option<Arc<str>>,
}

/// Asks at once, and then at each interval. An answer that takes longer delays the next question.
pub(super) fn ask(client: Client, interval: Duration) -> impl Stream<Item = Asked> {
    let mut interval = tokio::time::interval(interval);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    stream::unfold(Poll { client, interval, version: None }, |mut poll| async move {
        poll.interval.tick().await;
        let asked = poll.once().await;
        if asked.is_err() {
            poll.version = None;
        }
        Some((asked, poll))
    })
}

impl Poll {
    async fn once(&mut self) -> Asked {
        let version = match &self.version {
            Some(version) => Arc::clone(version),
            None => self.client.get_capabilities().await?.version.into(),
        };
        self.version = Some(Arc::clone(&version));
        let stats = Arc::new(self.client.get_stats().await?);
        Ok(Answer { stats, version, came: Instant::now(), came_at: SystemTime::now() })
    }
}
