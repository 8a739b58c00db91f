//! Who owns the shards, as far as this Gateway has heard: pictures, put together by epochs, and hints.

use std::sync::Arc;

use hashmesh::{
    queue::v1::{ShardOwner, WatchShardsResponse},
    shards::SHARDS,
};
use uuid::Uuid;

/// A process of the Queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Process {
    /// A UUID, or empty if it is none.
    pub(super) id: String,
    pub(super) address: Arc<str>,
}

/// Who owns each shard.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Table {
    processes: Vec<Process>,
    shards: Vec<Shard>,
}

/// What is known of a shard.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Shard {
    epoch: u64,
    /// By the newest picture.
    owner: Option<Arc<str>>,
    /// Whom `owner`, or who was taken for it, has named since.
    hint: Option<Arc<str>>,
}

/// A picture that cannot be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum PictureError {
    #[error("it has {0} shards and not {SHARDS}")]
    Shards(usize),
    #[error("a shard's owner is not among the processes")]
    Owner,
    #[error("nobody is in it, not even who sent it")]
    Empty,
}

/// A URL as it is compared: some name it with a slash at its end, or without its scheme.
pub(super) fn normal(address: &str) -> Arc<str> {
    let address = address.trim_end_matches('/');
    if address.contains("://") { address.into() } else { format!("http://{address}").into() }
}

impl Table {
    /// Takes what a picture says that is not older than what is known. True if anything changed.
    pub(super) fn take(&mut self, picture: &WatchShardsResponse) -> Result<bool, PictureError> {
        if picture.shards.len() != usize::from(SHARDS) {
            return Err(PictureError::Shards(picture.shards.len()));
        }
        if picture.processes.is_empty() {
            // As a process says that has not looked yet.
            return Err(PictureError::Empty);
        }
        let processes: Vec<_> = picture
            .processes
            .iter()
            .map(|process| Process {
                id: Uuid::from_slice(&process.process_id).map(|id| id.to_string()).unwrap_or_default(),
                address: normal(&process.address),
            })
            .collect();
        let owner = |shard: &ShardOwner| match (shard.process as usize).checked_sub(1) {
            None => Ok(None),
            Some(place) => {
                let owner = processes.get(place).ok_or(PictureError::Owner)?;
                Ok(Some(Arc::clone(&owner.address)))
            }
        };
        let said =
            picture.shards.iter().map(|shard| Ok((shard.epoch, owner(shard)?))).collect::<Result<Vec<_>, _>>()?;
        let mut changed = self.processes != processes;
        self.processes = processes;
        self.shards.resize(usize::from(SHARDS), Shard::default());
        for (known, (epoch, owner)) in self.shards.iter_mut().zip(said) {
            let newer = epoch > known.epoch || (epoch == known.epoch && owner != known.owner);
            if newer {
                *known = Shard { epoch, owner, hint: None };
                changed = true;
            }
        }
        Ok(changed)
    }

    pub(super) fn processes(&self) -> &[Process] {
        &self.processes
    }

    /// Where the owner of a shard is, as far as is known.
    pub(super) fn owner(&self, shard: u8) -> Option<&Arc<str>> {
        let shard = self.shards.get(usize::from(shard))?;
        shard.hint.as_ref().or(shard.owner.as_ref())
    }

    /// Whether a process owns something, or is said to.
    pub(super) fn names(&self, address: &str) -> bool {
        let owners = self.shards.iter().flat_map(|shard| [&shard.owner, &shard.hint]);
        self.processes.iter().any(|process| &*process.address == address)
            || owners.flatten().any(|owner| &**owner == address)
    }

    /// The shards that somebody owns who is not `avoided`.
    pub(super) fn owned(&self, avoided: Option<&str>) -> Vec<u8> {
        (0..SHARDS).filter(|shard| self.owner(*shard).is_some_and(|owner| Some(&**owner) != avoided)).collect()
    }

    /// How many shards a process owns.
    pub(super) fn count(&self, address: &str) -> u32 {
        (0..SHARDS).map(|shard| u32::from(self.owner(shard).is_some_and(|owner| &**owner == address))).sum()
    }

    /// A process that was asked as owner has said that it is not, and perhaps who is; or it does not answer. True if there is
    /// somebody else to ask.
    pub(super) fn disown(&mut self, shard: u8, from: &str, hint: Option<&str>) -> bool {
        let Some(known) = self.shards.get_mut(usize::from(shard)) else { return false };
        let believed = known.hint.as_ref().or(known.owner.as_ref());
        if believed.is_none_or(|believed| &**believed != from) {
            // Known already, by a newer picture or another call.
            return believed.is_some();
        }
        let hint = hint.map(normal).filter(|hint| &**hint != from);
        // Without a word: whoever was only named is taken for the owner no more.
        let hinted = hint.is_some() || known.hint.is_some();
        known.hint = hint;
        hinted && (known.hint.is_some() || known.owner.as_deref().is_some_and(|owner| owner != from))
    }
}
