//! The worker as a process role.

use std::{
    pin::pin,
    sync::{Arc, OnceLock},
    time::Duration,
};

use hashmesh::{queue::v1::Hello, v1::Algorithm};
use hashmesh_hash::{HashPool, Helpers, PoolLimits, kernel, self_test};
use hashmesh_runtime::{channel::Dialer, health::Health, shutdown::Shutdown, tasks, tls::Role};
use tokio::time::timeout;
use uuid::Uuid;

use crate::{
    WorkerConfig, WorkerError,
    cache::{CacheClient, MemoRoom},
    credit::CreditPool,
    execute::{Door, Executor},
    session::SessionSettings,
    sources::Sources,
    stream::Presence,
    streams::Streams,
    turns::Turns,
    unclaimed::Unclaimed,
    watches,
};

/// For what was computed last to reach the cache, once a worker stops.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(2);

/// Takes leases from every queue that those of `config` know of until `shutdown` begins; then finishes what it holds within the grace, gives
/// back the rest, and returns. `health` is serving while at least one queue has welcomed the worker.
///
/// # Errors
/// [`WorkerError`], at start: settings that cannot work, a root that cannot be read, a digest that is wrong. Later:
/// [`WorkerError::Hung`], [`WorkerError::Untrusted`].
pub async fn serve(config: WorkerConfig, health: Health, shutdown: Shutdown) -> Result<(), WorkerError> {
    config.check()?;
    let dialer = Dialer::new(Role::Queue, config.tls.clone());
    for url in &config.queue {
        drop(dialer.channel(url)?);
    }
    let settings = Arc::new(settings(&config).await?);
    let presence = Arc::new(Presence::new(health.clone()));
    let _watches = watches::of(&settings.executor);
    let shutdown = shutdown.child();
    // From then on no stream that is welcomed makes it look fit for more work.
    let stopping = shutdown.clone();
    let _draining = tasks::spawn_owned("worker draining", async move {
        stopping.wait().await;
        health.stop("draining");
    });
    tracing::info!(worker_id = config.worker_id, threads = config.threads, kernel = kernel(), "worker ready");
    let streams = Streams::new(Arc::clone(&settings), presence, dialer, shutdown.clone());
    let busy = Arc::clone(&settings.executor.busy);
    let trust = Arc::clone(&settings.executor.trust);
    let mut streams = pin!(tasks::spawn_owned("queue streams", streams.run(config.queue)));
    tokio::select! {
        ended = &mut streams => {
            // Nobody is there to hear of it any more.
            settings.unclaimed.stop(|_| true);
            if let Some(cache) = &settings.executor.cache {
                // What is lost is read again.
                let _ = timeout(FLUSH_TIMEOUT, cache.flush()).await;
            }
            return Ok(ended??);
        }
        () = busy.hung() => {}
        // Not even what is done already is sent: it may be as wrong. The streams end with this, and the leases go back.
        untrusted = trust.lost() => return Err(untrusted.into()),
    }
    tracing::error!("a thread does not come back from a lease that was taken back; giving back the others and ending");
    shutdown.begin();
    streams.await??;
    Err(WorkerError::Hung)
}

async fn settings(config: &WorkerConfig) -> Result<SessionSettings, WorkerError> {
    let limits = PoolLimits::new(config.threads, config.memory_bytes);
    let inline = HashPool::new("hash", config.threads, limits)?;
    let objects = HashPool::new("read", config.threads, limits)?;
    inline.run(0, self_test).await??;
    let (allowed, remote, pool) = (config.allow_sources.clone(), config.remote.clone(), inline.clone());
    let remote_reads = config.remote_reads();
    let (uploads, machine_id) = (config.uploads.clone(), config.machine_id.clone());
    let cache = CacheClient::new(&config.cache, config.tls.as_ref()).map_err(WorkerError::Cache)?;
    let sources =
        objects.run(0, move || Sources::open(&allowed, &remote, uploads, pool, machine_id.as_deref())).await??;
    let hello = Hello {
        worker_id: config.worker_id.clone(),
        session: Uuid::new_v4().as_bytes().to_vec().into(),
        slots: u32::try_from(inline.threads()).unwrap_or(u32::MAX),
        algorithms: Algorithm::ALL.map(i32::from).to_vec(),
        sources: sources.announced(),
        held_leases: Vec::new(),
        lists_sources: true,
        begins_alone: true,
    };
    // A few small groups in line for each thread, so that none idles; objects take longer than it takes to call the next.
    let (inline_door, objects_door) = (Door::new(4 * inline.threads()), Door::new(objects.threads()));
    let executor = Arc::new(Executor {
        inline,
        objects,
        inline_door,
        objects_door,
        remote_door: Door::new(remote_reads),
        remote_reads,
        sources: Arc::new(sources),
        cache,
        memo_room: MemoRoom::new(config.memo_bytes()),
        busy: Arc::default(),
        helpers: config.helps().then(|| Arc::new(Helpers::new("help", config.threads))),
        turns: Turns::default(),
        trust: Arc::default(),
    });
    let credit = Arc::new(CreditPool::new(config.credit()));
    let unclaimed = Arc::new(Unclaimed::new(Arc::clone(&credit)));
    Ok(SessionSettings {
        hello,
        credit,
        drain_grace: config.drain_grace,
        give_back_at: OnceLock::new(),
        executor,
        unclaimed,
    })
}
