//! What a Cache service does while nobody asks: hears of invalidations, notes uses, deletes what is not used.

use std::{
    sync::{Arc, PoisonError},
    time::Duration,
};

use hashmesh_runtime::{
    tasks,
    telemetry::{self, Repeated},
};
use tokio::time::{Interval, MissedTickBehavior, interval};
use tokio_util::task::AbortOnDropHandle;

use super::{Entries, StoredError, key::Key};

/// How often others' invalidations are asked for.
const HEAR_EVERY: Duration = Duration::from_secs(1);
/// How often uses are written down.
const NOTE_EVERY: Duration = Duration::from_secs(10);
/// How often tables are tidied.
const TIDY_EVERY: Duration = Duration::from_secs(60);
/// Uses that are written down together.
const NOTED_TOGETHER: usize = 5_000;

/// Tasks that end when it is dropped.
#[derive(Debug)]
pub(crate) struct Upkeep {
    _tasks: [AbortOnDropHandle<()>; 4],
}

impl Upkeep {
    pub(crate) fn begin(entries: &Arc<Entries>) -> Self {
        let entries = || Arc::clone(entries);
        Self {
            _tasks: [
                tasks::spawn_owned("cache invalidations", hear(entries())),
                tasks::spawn_owned("cache uses", note(entries())),
                tasks::spawn_owned("cache tidying", tidy(entries())),
                tasks::spawn_owned("cache warming", warm(entries())),
            ],
        }
    }
}

async fn hear(entries: Arc<Entries>) {
    let mut chore = Chore::new("hearing of invalidations", HEAR_EVERY);
    loop {
        chore.turn().await;
        chore.over(entries.hear().await);
    }
}

async fn note(entries: Arc<Entries>) {
    let mut chore = Chore::new("noting what is used", NOTE_EVERY);
    loop {
        chore.turn().await;
        chore.over(entries.write_uses().await);
    }
}

async fn tidy(entries: Arc<Entries>) {
    let mut chore = Chore::new("tidying the tables", TIDY_EVERY);
    let mut swept = 0;
    loop {
        chore.turn().await;
        chore.over(entries.tidy(&mut swept).await);
    }
}

async fn warm(entries: Arc<Entries>) {
    let most = entries.config.warm_entries;
    if most > 0
        && let Err(error) = entries.warm("", most).await
    {
        tracing::warn!(error = telemetry::chain(&error), "the cache begins cold");
    }
}

/// Something that is done again and again.
struct Chore {
    what: &'static str,
    turns: Interval,
    again: Repeated,
}

impl Chore {
    fn new(what: &'static str, period: Duration) -> Self {
        let mut turns = interval(period);
        turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { what, turns, again: Repeated::new() }
    }

    async fn turn(&mut self) {
        self.turns.tick().await;
    }

    fn over(&self, ended: Result<(), StoredError>) {
        match ended {
            Ok(()) if self.again.fine() => tracing::info!(what = self.what, "the cache's upkeep works again"),
            Ok(()) => {}
            Err(error) => {
                if let Some(left_out) = self.again.failed() {
                    let error = telemetry::chain(&error);
                    tracing::warn!(what = self.what, error, left_out, "the cache's upkeep fails");
                }
            }
        }
    }
}

impl Entries {
    /// Writes down what was used since the last time.
    async fn write_uses(&self) -> Result<(), StoredError> {
        let uses = std::mem::take(&mut *self.uses.lock().unwrap_or_else(PoisonError::into_inner));
        let mut uses: Vec<(Key, u32)> = uses.into_iter().collect();
        uses.sort_unstable();
        for some in uses.chunks(NOTED_TOGETHER) {
            self.stored.note_uses(some).await?;
        }
        Ok(())
    }

    /// Deletes what was invalidated, was not used for long, or is worth least of too much.
    async fn tidy(&self, swept: &mut u64) -> Result<(), StoredError> {
        let latest = self.invalidated.latest();
        while self.stored.delete_invalidated(*swept).await? > 0 {}
        *swept = latest;
        self.stored.forget_invalidations().await?;
        let mut expired = 0;
        loop {
            let unused = self.stored.delete_unused(self.config.postgres_ttl).await?;
            let excess = self.stored.delete_excess(self.config.postgres_entries).await?;
            expired += unused + excess;
            if unused + excess == 0 {
                break;
            }
        }
        self.counters.expired.add_bytes(expired);
        Ok(())
    }
}
