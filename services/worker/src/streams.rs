//! A stream to each Queue process: follows which processes there are.

use std::{collections::HashMap, sync::Arc, time::Duration};

use hashmesh_runtime::{channel::Dialer, shutdown::Shutdown, tasks, telemetry};
use tokio::{
    sync::watch,
    task::{JoinError, JoinSet},
    time::{Instant, MissedTickBehavior, interval},
};
use tracing::Instrument as _;

use crate::{
    processes::{self, Processes},
    session::SessionSettings,
    stream::{self, Presence},
};

/// How often is looked whether what no queue knows of is still of use.
const REVIEW_INTERVAL: Duration = Duration::from_secs(1);

/// The streams of a worker.
#[derive(Debug)]
pub(crate) struct Streams {
    settings: Arc<SessionSettings>,
    presence: Arc<Presence>,
    dialer: Dialer,
    shutdown: Shutdown,
    /// By URL, whether it is of a process that there is.
    kept: HashMap<String, watch::Sender<bool>>,
    /// Each ends with its URL.
    running: JoinSet<String>,
}

impl Streams {
    pub(crate) fn new(
        settings: Arc<SessionSettings>,
        presence: Arc<Presence>,
        dialer: Dialer,
        shutdown: Shutdown,
    ) -> Self {
        Self { settings, presence, dialer, shutdown, kept: HashMap::new(), running: JoinSet::new() }
    }

    /// Keeps a stream to each process until `shutdown` begins and nothing is held that a queue could want.
    pub(crate) async fn run(mut self, configured: Vec<String>) -> Result<(), JoinError> {
        let (told, mut processes) = watch::channel(Processes::default());
        let watching = processes::watch(configured, self.dialer.clone(), told);
        let _watching = tasks::spawn_owned("queue processes", watching);
        let (settings, presence, shutdown) =
            (Arc::clone(&self.settings), Arc::clone(&self.presence), self.shutdown.clone());
        let mut review = interval(REVIEW_INTERVAL);
        review.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stream::done(&settings, &presence, &shutdown), if self.running.is_empty() => return Ok(()),
                Ok(()) = processes.changed() => self.follow(&processes.borrow_and_update()),
                Some(ended) = self.running.join_next() => {
                    self.kept.remove(&ended?);
                    // It may have come back at that very moment. A stopping worker is done with those that it ended.
                    if !self.shutdown.begun() {
                        self.follow(&processes.borrow());
                    }
                }
                _ = review.tick() => settings.unclaimed.review(Instant::now(), processes.borrow().owned),
            }
        }
    }

    fn follow(&mut self, processes: &Processes) {
        // Of configured URLs most may be those of queues that own nothing, and refuse the worker.
        self.settings.credit.expect(if processes.shared { processes.addresses.len() } else { 1 });
        for (url, wanted) in &self.kept {
            // The stream of a process that has gone ends by itself, when it has let go of all.
            wanted.send_if_modified(|wanted| {
                let before = std::mem::replace(wanted, processes.addresses.contains(url));
                before != *wanted
            });
        }
        for url in &processes.addresses {
            if !self.kept.contains_key(url) {
                self.keep(url);
            }
        }
    }

    fn keep(&mut self, url: &str) {
        let (wanted, still_wanted) = watch::channel(true);
        // Also where there is no way to it: that is said once.
        self.kept.insert(url.to_owned(), wanted);
        let channel = match self.dialer.channel(url) {
            Ok(channel) => channel,
            Err(error) => {
                let error = telemetry::chain(&error);
                tracing::error!(queue = url, error, "a queue has an address that cannot be used; it gets no stream");
                return;
            }
        };
        let stream = stream::keep(
            Arc::clone(&self.settings),
            Arc::clone(&self.presence),
            url.to_owned(),
            channel,
            still_wanted,
            self.shutdown.clone(),
        );
        let url = url.to_owned();
        let ends_with_url = async move {
            stream.await;
            url
        };
        self.running.spawn(ends_with_url.instrument(tracing::info_span!("task", name = "queue stream")));
    }
}
