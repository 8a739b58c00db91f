//! What this mesh can do and what it is doing.

mod joined;

use std::time::Duration;

use hashmesh::{
    gateway::v1::{AlgorithmInfo, GetCapabilitiesResponse, GetStatsResponse},
    limits::announced,
    queue::v1::GetQueueStatsRequest,
    v1::{Algorithm, Scope, SourceRoot, WorkerStats},
};
use tokio::{sync::Mutex, time::Instant};
use tonic::Status;

use self::joined::Joined;
pub(crate) use self::joined::workers;
use crate::{
    UploadConfig, cache,
    call::Call,
    deadline::Deadline,
    service::{Gateway, queue_client},
    upstream::ask_each,
};

/// Capabilities may be this old: every client asks for them at its start.
const MAX_AGE: Duration = Duration::from_secs(1);

/// The sources of the connected workers, as the Queue last said.
#[derive(Debug, Default)]
pub(crate) struct StatsCache {
    /// Held while the Queue is asked, so that many clients ask it once.
    sources: Mutex<Option<(Instant, Vec<SourceRoot>)>>,
}

/// What this mesh can do.
pub(crate) async fn capabilities(gateway: &Gateway, call: Call) -> Result<GetCapabilitiesResponse, Status> {
    let (deadline, reads) = (call.deadline, call.reads());
    let mut announced_sources = deadline.limit(sources(gateway, deadline)).await?;
    announced_sources.retain(|root| reads.meet(&root.uri_prefix));
    let info = |algorithm: Algorithm| AlgorithmInfo {
        algorithm: algorithm.into(),
        name: algorithm.name().to_owned(),
        digest_bytes: algorithm.digest_bytes() as u32,
        collision_resistant: algorithm.collision_resistant(),
        composite: algorithm.composite(),
    };
    Ok(GetCapabilitiesResponse {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        algorithms: Algorithm::ALL.map(info).to_vec(),
        limits: Some(announced()),
        sources: announced_sources,
        uploads: gateway.uploads.as_ref().map(UploadConfig::announced),
        tenant_sources: reads.allowed(),
    })
}

/// What this mesh is doing now.
pub(crate) async fn stats(gateway: &Gateway, call: Call) -> Result<GetStatsResponse, Status> {
    let (answer, cache) = tokio::join!(queue_stats(gateway, call.deadline), cache::stats(gateway));
    let mut joined = answer?;
    let (reads, administers) = (call.reads(), call.caller.require(Scope::Admin).is_ok());
    for worker in &mut joined.queue.workers {
        worker.sources.retain(|root| administers || reads.meet(&root.uri_prefix));
    }
    Ok(GetStatsResponse {
        queue: Some(joined.queue),
        database: joined.database,
        storage: joined.storage,
        queue_processes: joined.processes,
        cache,
        gateway_streams: u32::try_from(gateway.admission.open_streams()).unwrap_or(u32::MAX),
        coalesced_digests: gateway.digests.joined(),
    })
}

async fn queue_stats(gateway: &Gateway, deadline: Deadline) -> Result<Joined, Status> {
    let asked = ask_each!(gateway.queue, queue_client, deadline, get_queue_stats(GetQueueStatsRequest {}))?;
    Ok(joined::join(asked))
}

async fn sources(gateway: &Gateway, deadline: Deadline) -> Result<Vec<SourceRoot>, Status> {
    let mut cached = gateway.stats.sources.lock().await;
    if let Some((asked_at, sources)) = cached.as_ref()
        && asked_at.elapsed() <= MAX_AGE
    {
        return Ok(sources.clone());
    }
    let sources = distinct_sources(queue_stats(gateway, deadline).await?.queue.workers);
    *cached = Some((Instant::now(), sources.clone()));
    Ok(sources)
}

/// Each root once, however many workers read it.
fn distinct_sources(workers: Vec<WorkerStats>) -> Vec<SourceRoot> {
    let mut sources: Vec<_> = workers.into_iter().flat_map(|worker| worker.sources).collect();
    let key = |source: &SourceRoot| (source.uri_prefix.clone(), source.device, source.inode);
    sources.sort_by_key(key);
    sources.dedup_by_key(|source| key(source));
    sources
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_root_is_named_once_and_another_file_system_is_another_root() {
        let root = |prefix: &str, inode| SourceRoot { uri_prefix: prefix.to_owned(), device: 1, inode };
        let worker = |sources: Vec<SourceRoot>| WorkerStats { sources, ..Default::default() };
        let workers = vec![
            worker(vec![root("file:///b/", 1), root("file:///a/", 2)]),
            worker(vec![root("file:///a/", 2), root("file:///a/", 3)]),
        ];
        assert_eq!(distinct_sources(workers), [root("file:///a/", 2), root("file:///a/", 3), root("file:///b/", 1)]);
    }
}
