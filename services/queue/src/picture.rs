//! Who owns what, as it was last seen in the tables.

use hashmesh::queue::v1::{QueueProcess, ShardOwner, WatchShardsResponse};
use uuid::Uuid;

use crate::shard::{SHARDS, Shard, ShardSet};

/// A Queue process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Process {
    pub(crate) id: Uuid,
    /// The URL under which it is reached.
    pub(crate) address: String,
    /// It takes its part of the shards. A process of the version before takes all or none.
    pub(crate) shares: bool,
}

/// Who owns a shard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Owned {
    pub(crate) epoch: i64,
    /// `None`: nobody, or somebody who has not renewed it in time.
    pub(crate) by: Option<Uuid>,
    /// Its last owner neither renewed it in time nor gave it up.
    pub(crate) lapsed: bool,
}

/// All processes and shards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Picture {
    pub(crate) processes: Vec<Process>,
    pub(crate) shards: [Owned; SHARDS as usize],
}

impl Default for Picture {
    fn default() -> Self {
        Self { processes: Vec::new(), shards: [Owned::default(); SHARDS as usize] }
    }
}

impl Picture {
    /// Who owns a shard.
    pub(crate) fn of(&self, shard: Shard) -> Owned {
        self.shards[usize::from(shard.number())]
    }

    /// The processes that share the shards, but for this one.
    pub(crate) fn sharing(&self, process: Uuid) -> impl Iterator<Item = &Process> {
        self.processes.iter().filter(move |other| other.shares && other.id != process)
    }

    /// The shards that a process owns.
    pub(crate) fn owned_by(&self, process: Uuid) -> ShardSet {
        Shard::all().filter(|shard| self.of(*shard).by == Some(process)).collect()
    }

    /// The shards that nobody owns.
    pub(crate) fn free(&self) -> ShardSet {
        Shard::all().filter(|shard| self.of(*shard).by.is_none()).collect()
    }

    /// Where the owner of a shard is reached.
    pub(crate) fn address(&self, shard: Shard) -> Option<&str> {
        let owner = self.of(shard).by?;
        self.processes.iter().find(|process| process.id == owner).map(|process| process.address.as_str())
    }

    /// As it is told to Gateways and Workers.
    pub(crate) fn answer(&self) -> WatchShardsResponse {
        let place = |owner: Uuid| self.processes.iter().position(|process| process.id == owner);
        let number = |place: usize| u32::try_from(place + 1).unwrap_or(0);
        WatchShardsResponse {
            processes: self
                .processes
                .iter()
                .map(|process| QueueProcess {
                    process_id: process.id.as_bytes().to_vec().into(),
                    address: process.address.clone(),
                })
                .collect(),
            shards: self
                .shards
                .iter()
                .map(|shard| ShardOwner {
                    epoch: u64::try_from(shard.epoch).unwrap_or(0),
                    process: shard.by.and_then(place).map_or(0, number),
                })
                .collect(),
        }
    }
}
