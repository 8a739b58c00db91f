//! Which Queue processes there are, as they say it themselves (`WatchShards`). The configured URLs are only where that is
//! asked first: once a process has answered, the addresses of its answer count and no others, so that none has two streams.

use std::time::Duration;

use hashmesh::queue::v1::{WatchShardsRequest, WatchShardsResponse, queue_service_client::QueueServiceClient};
use hashmesh_runtime::{
    channel::Dialer,
    telemetry::{self, Repeated},
};
use rand::seq::SliceRandom as _;
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};
use tonic::{Code, Status, Streaming};

use crate::{backoff::Backoff, shards::ShardSet};

/// From the call to the first answer, after which another process is asked. Each answers from memory. When all are slow they
/// are given more time from round to round.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);
const LONGEST_ANSWER_TIMEOUT: Duration = Duration::from_secs(16);

/// The processes to which streams are kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Processes {
    /// Their URLs, each once.
    pub(crate) addresses: Vec<String>,
    /// Each of them takes shards and welcomes workers. False: they are configured URLs, of which one may own everything.
    pub(crate) shared: bool,
    /// The shards that have an owner, while somebody keeps us informed of it.
    pub(crate) owned: Option<ShardSet>,
}

/// How asking a process ended.
#[derive(Debug)]
enum Asked {
    /// It told, until its stream ended.
    Told,
    /// It is of a version that shares nothing, and does not know the question.
    Unknown,
    /// It could not be reached, or it does not know yet.
    Failed(Box<Status>),
}

/// Tells what the processes are, and whenever that changes, for ever. Nothing before the first answer. The configured URLs, if
/// nobody knows and somebody is of the version that does not know the question.
pub(crate) async fn watch(configured: Vec<String>, dialer: Dialer, told: watch::Sender<Processes>) {
    let configured = distinct(configured);
    let mut backoff = Backoff::new();
    let again = Repeated::new();
    let mut patience = ANSWER_TIMEOUT;
    loop {
        let mut unknown = false;
        let mut answered = false;
        let urls = to_ask(&told.borrow(), &configured);
        for url in urls {
            match ask(&url, &dialer, patience, &told).await {
                Asked::Told => {
                    tracing::debug!(queue = url, "it tells no more of the queues; asking another");
                    answered = true;
                    backoff.reset();
                }
                Asked::Unknown => unknown = true,
                Asked::Failed(status) => {
                    let error = telemetry::chain(status.as_ref());
                    tracing::debug!(queue = url, error, "it does not tell which queues there are; asking another");
                }
            }
            // What was said before stands, but nobody says any more that it is so.
            told.send_if_modified(|processes| processes.owned.take().is_some());
            if answered {
                break;
            }
        }
        if !answered && unknown {
            let processes = Processes { addresses: configured.clone(), shared: false, owned: None };
            replace(&told, processes);
        }
        let silent = !answered && !unknown;
        patience = if silent { (patience * 2).min(LONGEST_ANSWER_TIMEOUT) } else { ANSWER_TIMEOUT };
        if !silent {
            // That it works again each stream says itself.
            let _said = again.fine();
        } else if let Some(left_out) = again.failed() {
            tracing::warn!(queues = ?configured, left_out, "no queue tells which queues there are; trying again");
        }
        let wait = backoff.next(&mut rand::rng());
        sleep(wait).await;
    }
}

/// Any process knows of all: each worker asks in an order of its own.
fn to_ask(known: &Processes, configured: &[String]) -> Vec<String> {
    let mut urls = distinct(known.addresses.iter().chain(configured).cloned().collect());
    urls.shuffle(&mut rand::rng());
    urls
}

async fn ask(url: &str, dialer: &Dialer, patience: Duration, told: &watch::Sender<Processes>) -> Asked {
    let failed = |status| Asked::Failed(Box::new(status));
    let channel = match dialer.channel(url) {
        Ok(channel) => channel,
        Err(error) => return failed(Status::invalid_argument(telemetry::chain(&error))),
    };
    let mut client = QueueServiceClient::new(channel);
    let first = timeout(patience, async {
        let mut answers = client.watch_shards(WatchShardsRequest {}).await?.into_inner();
        Ok::<_, Status>((next(&mut answers).await?, answers))
    });
    let (mut picture, mut answers) = match first.await {
        Ok(Ok(first)) => first,
        // Who checks certificates refuses what it does not know.
        Ok(Err(status)) if matches!(status.code(), Code::Unimplemented | Code::PermissionDenied) => {
            return Asked::Unknown;
        }
        Ok(Err(status)) => return failed(status),
        Err(_) => return failed(Status::deadline_exceeded("no answer in time")),
    };
    loop {
        replace(told, picture);
        picture = match next(&mut answers).await {
            Ok(picture) => picture,
            Err(_) => return Asked::Told,
        };
    }
}

/// The next answer that says something: a process that has just started knows of none.
async fn next(answers: &mut Streaming<WatchShardsResponse>) -> Result<Processes, Status> {
    loop {
        let answer = answers.message().await?.ok_or_else(|| Status::unavailable("it ended its answers"))?;
        let processes = of(&answer);
        if !processes.addresses.is_empty() {
            return Ok(processes);
        }
    }
}

fn of(answer: &WatchShardsResponse) -> Processes {
    let addresses = distinct(answer.processes.iter().map(|process| process.address.clone()).collect());
    let owned = (0..).zip(&answer.shards).filter(|(_, owner)| owner.process > 0).map(|(shard, _)| shard);
    Processes { addresses, shared: true, owned: Some(owned.collect()) }
}

fn replace(told: &watch::Sender<Processes>, processes: Processes) {
    told.send_if_modified(|known| {
        let changed = *known != processes;
        *known = processes;
        changed
    });
}

/// Each URL once, in its one spelling.
fn distinct(urls: Vec<String>) -> Vec<String> {
    let mut distinct = Vec::with_capacity(urls.len());
    for url in urls {
        let url = url.trim_end_matches('/').to_owned();
        if !url.is_empty() && !distinct.contains(&url) {
            distinct.push(url);
        }
    }
    distinct
}

#[cfg(test)]
mod tests {
    use hashmesh::queue::v1::{QueueProcess, ShardOwner};

    use super::*;

    #[test]
    fn an_answer_names_each_address_once_and_the_shards_that_have_an_owner() {
        let process = |address: &str| QueueProcess { address: address.to_owned(), ..QueueProcess::default() };
        let mut shards = vec![ShardOwner::default(); 64];
        shards[3].process = 1;
        shards[63].process = 2;
        let answer = WatchShardsResponse {
            processes: vec![process("http://a:1"), process("http://b:1/"), process("http://b:1")],
            shards,
        };
        let processes = of(&answer);
        assert_eq!(processes.addresses, ["http://a:1", "http://b:1"]);
        assert_eq!(processes.owned, Some([3, 63].into_iter().collect()));
    }

    #[test]
    fn everyone_is_asked_who_is_known_or_configured() {
        let known = Processes { addresses: vec!["http://a:1".to_owned()], ..Processes::default() };
        let mut urls = to_ask(&known, &distinct(vec!["http://a:1/".to_owned(), "http://seed:1".to_owned()]));
        urls.sort();
        assert_eq!(urls, ["http://a:1", "http://seed:1"]);
    }
}
