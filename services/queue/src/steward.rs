//! Looks at who owns what, takes shards and gives them up.
//!
//! Postgres is the only place where processes meet: each looks at the same tables a few times a second, decides by
//! [`crate::balance`], and acts on its own.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use hashmesh_database::Dedicated;
use hashmesh_runtime::{
    metrics::catalogue::queue::TAKEOVERS,
    shutdown::Shutdown,
    telemetry::{self, Repeated},
};
use tokio::{
    sync::watch,
    time::{MissedTickBehavior, interval, timeout},
};

use crate::{
    QueueConfig,
    balance::Balance,
    engine::{Command, EngineHandle, Refreshed},
    error::QueueError,
    measures::{Measures, Owned},
    owner::Shown,
    picture::Picture,
    ready::OwnerHealth,
    shard::{Shard, ShardSet},
    store::{self, Ownership, StoreError},
    wall::WallTime,
};

/// Between two looks: what is free waits for somebody no longer than this.
const INTERVAL: Duration = Duration::from_millis(250);
/// Between two looks at what operators have said and tenants have brought.
const REFRESH_INTERVAL: Duration = Duration::from_secs(1);
/// How long a process that stops may take to give its shards up, before it leaves them to lapse.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(8);

/// Why a look or a move did not come to its end. All of it is tried again.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LookError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the engine has ended")]
    EngineGone,
}

impl From<QueueError> for LookError {
    fn from(_: QueueError) -> Self {
        Self::EngineGone
    }
}

/// Takes care that the engine works on this process's part of the shards.
#[derive(Debug)]
pub(crate) struct Steward {
    config: QueueConfig,
    ownership: Arc<Ownership>,
    engine: EngineHandle,
    health: OwnerHealth,
    current: watch::Sender<Option<EngineHandle>>,
    pictures: watch::Sender<Arc<Picture>>,
    measures: Arc<Measures>,
    balance: Balance,
    /// Of its own: an open transaction goes with it.
    connection: Option<Dedicated>,
    refreshed_at: Option<Instant>,
    again: Repeated,
}

impl Steward {
    pub(crate) fn new(
        config: &QueueConfig,
        ownership: Arc<Ownership>,
        engine: EngineHandle,
        health: &OwnerHealth,
        shown: &Shown,
    ) -> Self {
        Self {
            config: config.clone(),
            balance: Balance::new(ownership.process()),
            ownership,
            engine,
            health: health.clone(),
            current: shown.current.clone(),
            pictures: shown.pictures.clone(),
            measures: Arc::clone(&shown.measures),
            connection: None,
            refreshed_at: None,
            again: Repeated::new(),
        }
    }

    /// Looks until that has worked once, or the shutdown begins.
    pub(crate) async fn begin(&mut self, shutdown: &Shutdown) {
        let mut interval = interval(INTERVAL);
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while !shutdown.begun() {
            tokio::select! {
                () = shutdown.wait() => return,
                _ = interval.tick() => {}
            }
            if self.look_once().await {
                return;
            }
        }
    }

    /// Looks and acts until the shutdown begins.
    pub(crate) async fn run(&mut self, shutdown: &Shutdown) {
        let mut interval = interval(INTERVAL);
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                () = shutdown.wait() => return,
                _ = interval.tick() => drop(self.look_once().await),
            }
        }
    }

    /// Gives everything up, so that others need not wait.
    pub(crate) async fn leave(&mut self) {
        let left = timeout(LEAVE_TIMEOUT, async {
            store::leave(&self.config.database, &self.ownership).await?;
            self.give_up(self.ownership.held()).await
        });
        let failed = match left.await {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("not within {LEAVE_TIMEOUT:?}"),
        };
        tracing::warn!(error = failed, "the shards could not be given up; they will lapse");
    }

    /// True if it worked.
    async fn look_once(&mut self) -> bool {
        match self.look().await {
            Ok(()) => {
                if self.again.fine() {
                    tracing::info!("who owns the shards can be seen again");
                }
                true
            }
            Err(error) => {
                self.connection = None;
                if let LookError::Store(error) = &error {
                    self.health.waits_for_postgres(error);
                }
                if let Some(left_out) = self.again.failed() {
                    let error = telemetry::chain(&error);
                    tracing::warn!(error, left_out, "taking or giving up shards failed; trying again");
                }
                false
            }
        }
    }

    async fn look(&mut self) -> Result<(), LookError> {
        let picture = self.picture().await?;
        self.refresh(&picture).await?;
        let plan = self.balance.plan(Instant::now(), &picture, self.ownership.held());
        let unplanned = plan.take.iter().any(|shard| picture.of(*shard).lapsed || picture.of(*shard).by.is_some());
        self.show(picture);
        let took = self.take(&plan.take).await?;
        if took && unplanned {
            TAKEOVERS.add(1, &[]);
        }
        if !plan.give.is_empty() {
            tracing::info!(shards = plan.give.len(), "giving shards up to processes that have fewer");
            self.give_up(plan.give).await?;
        }
        if took || !plan.give.is_empty() {
            let picture = self.picture().await?;
            self.show(picture);
        }
        // Callers come once it works on what it can get.
        self.current.send_if_modified(|current| {
            let first = current.is_none();
            if first {
                *current = Some(self.engine.clone());
            }
            first
        });
        let owned = self.engine.shards().now().len();
        self.measures.note(Owned::Shards, owned as u64);
        self.measures.note(Owned::FreeShards, self.pictures.borrow().free().len() as u64);
        self.health.owns(owned, self.pictures.borrow().free().is_empty());
        Ok(())
    }

    async fn picture(&mut self) -> Result<Picture, StoreError> {
        let connection = match &mut self.connection {
            Some(connection) => connection,
            none => {
                let opened = self.config.database.dedicated("hashmesh steward").await;
                none.insert(opened.map_err(StoreError::connect("see who owns the shards"))?)
            }
        };
        store::look(connection).await
    }

    fn show(&self, picture: Picture) {
        self.pictures.send_if_modified(|shown| {
            let news = **shown != picture;
            if news {
                *shown = Arc::new(picture);
            }
            news
        });
    }

    /// Tells the engine what operators have said and tenants have brought elsewhere.
    async fn refresh(&mut self, picture: &Picture) -> Result<(), LookError> {
        if self.refreshed_at.is_some_and(|at| at.elapsed() < REFRESH_INTERVAL) {
            return Ok(());
        }
        let database = &self.config.database;
        let (process, day) = (self.ownership.process(), WallTime::now().day());
        let controls = store::tenant_controls(database).await?;
        let usage = store::usage_of_others(database, day, process, None).await?;
        let processes = picture.sharing(process).count() + 1;
        self.engine.tell(Command::Refresh(Box::new(Refreshed { controls, usage, processes }))).await?;
        self.refreshed_at = Some(Instant::now());
        Ok(())
    }

    /// Takes what of these shards is free, and has the engine take up whatever is held. True if that is more than before.
    async fn take(&mut self, shards: &[Shard]) -> Result<bool, LookError> {
        let lease = self.config.ownership_duration;
        for shard in shards {
            let Some(connection) = &self.connection else { break };
            store::take(connection, &self.ownership, *shard, lease).await?;
        }
        let new = self.ownership.held().without(self.engine.shards().now());
        if new.is_empty() {
            return Ok(false);
        }
        let began = Instant::now();
        let submissions = store::load_unfinished(&self.config.database, new, self.config.index_batches).await?;
        let (shards, unfinished) = (new.len(), submissions.len());
        self.engine.ask(|reply| Command::TakeUp { shards: new, submissions, reply }).await?;
        tracing::info!(shards, unfinished, elapsed = ?began.elapsed(), "took shards over");
        Ok(true)
    }

    /// Has the engine let go of these shards, and others take them.
    async fn give_up(&self, shards: ShardSet) -> Result<(), LookError> {
        if shards.is_empty() {
            return Ok(());
        }
        self.engine.ask(|reply| Command::GiveUp { shards, reply }).await?;
        Ok(store::release(&self.config.database, &self.ownership, shards).await?)
    }
}
