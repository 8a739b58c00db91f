//! The processes of the Queue: those that were configured, those of the picture, and whom they have named.

use std::sync::Arc;

use hashmesh::queue::v1::WatchShardsResponse;
use hashmesh_middleware::breaker::BreakerConfig;
use hashmesh_runtime::{
    channel::Dialer,
    tls::{Role, Tls},
};
use rand::seq::IndexedRandom as _;

use super::{
    QueueProcess, Route,
    table::{PictureError, Table, normal},
};
use crate::{
    error::GatewayError,
    upstream::{
        target::{self, Target},
        targets,
    },
};

/// Who there is, and who is asked what.
#[derive(Debug)]
pub(super) struct Directory {
    dialer: Dialer,
    breaker: BreakerConfig,
    configured: Vec<Arc<Target>>,
    /// Those that are not configured, as long as the table names them or they are `current`.
    learned: Vec<Arc<Target>>,
    /// `None`: nobody has told, as none does of a version that shares nothing.
    table: Option<Table>,
    /// Who is asked what anybody can answer; while there is no table, everything. Kept to while it answers.
    current: Arc<Target>,
}

impl Directory {
    pub(super) fn new(urls: &[String], tls: Option<Tls>) -> Result<Self, GatewayError> {
        let (dialer, breaker) = (Dialer::new(Role::Queue, tls), BreakerConfig::default());
        let configured = targets(&dialer, urls, &breaker)?;
        let current = Arc::clone(&configured[0]);
        Ok(Self { dialer, breaker, configured, learned: Vec::new(), table: None, current })
    }

    /// True if it is known who owns the shards.
    pub(super) fn shared(&self) -> bool {
        self.table.is_some()
    }

    /// True if somebody owns something, or it is not known who does.
    pub(super) fn owned(&self) -> bool {
        self.table.as_ref().is_none_or(|table| !table.owned(None).is_empty())
    }

    /// Takes a picture. True if it says anything new.
    pub(super) fn take(&mut self, picture: &WatchShardsResponse) -> Result<bool, PictureError> {
        let mut table = self.table.take().unwrap_or_default();
        let first = table.processes().is_empty();
        let taken = table.take(picture);
        if taken.is_err() && first {
            return taken;
        }
        let processes: Vec<_> = table.processes().iter().map(|process| Arc::clone(&process.address)).collect();
        self.table = Some(table);
        let processes: Vec<_> = processes.iter().filter_map(|address| self.at(address)).collect();
        let gone = !processes.iter().any(|process| Arc::ptr_eq(process, &self.current));
        if (first || gone)
            && let Some(any) = processes.choose(&mut rand::rng())
        {
            // By chance, so that not all Gateways ask the same.
            self.current = Arc::clone(any);
        }
        if let Some(table) = &self.table {
            self.learned.retain(|target| table.names(target.url()) || Arc::ptr_eq(target, &self.current));
        }
        taken
    }

    /// Nobody tells who owns the shards any more: what was said holds no more.
    pub(super) fn forget(&mut self) {
        self.table = None;
        self.learned.clear();
        self.current = Arc::clone(&self.configured[0]);
    }

    /// Who is asked. `avoided` has just failed. `None`: nobody can be, now.
    pub(super) fn target(&mut self, route: Route, avoided: Option<&Arc<Target>>) -> Option<Arc<Target>> {
        let Some(table) = &self.table else { return Some(Arc::clone(&self.current)) };
        let shard = match route {
            Route::Any => return Some(Arc::clone(&self.current)),
            Route::Shard(shard) => shard,
            Route::AnyOwner => {
                let others = table.owned(avoided.map(|target| target.url()));
                let owned = if others.is_empty() { table.owned(None) } else { others };
                *owned.choose(&mut rand::rng())?
            }
        };
        let owner = Arc::clone(table.owner(shard)?);
        self.at(&owner)
    }

    /// True if it is known that somebody else than `from` is to be asked: a shard has another owner, or the process is gone.
    pub(super) fn moved(&self, route: Route, from: Option<&Target>) -> bool {
        let Some(table) = &self.table else { return false };
        match route {
            Route::Shard(shard) => {
                table.owner(shard).is_some_and(|owner| from.is_none_or(|from| from.url() != &**owner))
            }
            Route::Any | Route::AnyOwner => from.is_some_and(|from| !table.names(from.url())),
        }
    }

    /// A process has not executed a call, and has perhaps said who would. True if there is somebody else to ask.
    pub(super) fn failed(&mut self, route: Route, from: &Arc<Target>, owner: Option<&str>) -> bool {
        let Some(table) = &mut self.table else { return self.elsewhere(from, owner) };
        match route {
            Route::Any => self.elsewhere(from, owner),
            Route::AnyOwner => !table.owned(Some(from.url())).is_empty(),
            Route::Shard(shard) => table.disown(shard, from.url(), owner),
        }
    }

    /// Turns from `from`: to the owner if it is known, else to the next. False if there is no other.
    fn elsewhere(&mut self, from: &Arc<Target>, owner: Option<&str>) -> bool {
        if !Arc::ptr_eq(&self.current, from) {
            // Another call has found somebody already.
            return true;
        }
        let owner = owner.map(normal).filter(|owner| &**owner != from.url());
        let next = owner.and_then(|owner| self.at(&owner)).or_else(|| target::after(&self.ring(), from));
        let Some(next) = next else { return false };
        tracing::info!(service = "queue", from = from.url(), to = next.url(), "turning to another process");
        self.current = next;
        if self.table.is_none() {
            self.learned.retain(|target| Arc::ptr_eq(target, &self.current));
        }
        true
    }

    /// Who can answer what anybody can: the processes of the picture, else those that were configured.
    fn ring(&mut self) -> Vec<Arc<Target>> {
        let processes = self.table.as_ref().map(Table::processes).unwrap_or_default();
        if processes.is_empty() {
            return self.configured.clone();
        }
        let addresses: Vec<_> = processes.iter().map(|process| Arc::clone(&process.address)).collect();
        addresses.iter().filter_map(|address| self.at(address)).collect()
    }

    /// Every process that owns or takes shards, each once. Without a table: `None`.
    pub(super) fn processes(&mut self) -> Option<Vec<(QueueProcess, Arc<Target>)>> {
        let table = self.table.as_ref()?;
        let mut processes: Vec<_> = table
            .processes()
            .iter()
            .map(|process| QueueProcess {
                id: process.id.clone(),
                address: process.address.as_ref().to_owned(),
                shards: table.count(&process.address),
                first: table.owner(0) == Some(&process.address),
            })
            .collect();
        processes.sort_by(|one, other| one.address.cmp(&other.address));
        processes.dedup_by(|one, other| one.address == other.address);
        Some(processes.into_iter().filter_map(|process| Some((process.clone(), self.at(&process.address)?))).collect())
    }

    /// Who is to tell who owns the shards.
    pub(super) fn tellers(&mut self) -> Vec<Arc<Target>> {
        let ring = self.ring();
        if ring.is_empty() { self.known() } else { ring }
    }

    /// Every process, by every name that is known. At least one.
    pub(super) fn known(&self) -> Vec<Arc<Target>> {
        self.configured.iter().chain(&self.learned).cloned().collect()
    }

    pub(super) fn current(&self) -> Arc<Target> {
        Arc::clone(&self.current)
    }

    /// The process at this address; made if need be. `None`: the address is not usable.
    fn at(&mut self, address: &str) -> Option<Arc<Target>> {
        if let Some(known) = self.configured.iter().chain(&self.learned).find(|target| target.url() == address) {
            return Some(Arc::clone(known));
        }
        match Target::new(address, &self.dialer, self.breaker.clone()) {
            Ok(target) => {
                self.learned.push(Arc::clone(&target));
                Some(target)
            }
            Err(error) => {
                tracing::warn!(service = "queue", %error, "a process's address is not usable");
                None
            }
        }
    }
}
