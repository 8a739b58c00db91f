//! Who works side by side with others, and who alone.
//!
//! What may kill its worker is leased alone: nothing else of the same queue is in the worker's hands. Of other queues there
//! may be, and none of them must be blamed for what another's task did. So it waits until all that has begun is over, for
//! whichever queue; what comes later waits for it in turn, or goes back.

use std::{sync::Arc, time::Duration};

use hashmesh::queue::v1::NackReason;
use tokio::{
    sync::{OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock},
    time::{sleep, timeout},
};

use crate::leases::HeldLease;

/// How long a lease waits for one that is alone before it goes back, to a worker that has time.
const PATIENCE: Duration = Duration::from_secs(1);

/// How long what was alone is waited for once it is done. A queue records in milliseconds what it can record.
const SETTLED_WITHIN: Duration = Duration::from_secs(5);

/// Whose turn it is. In the order in which they ask.
#[derive(Debug, Default)]
pub(crate) struct Turns(Arc<RwLock<()>>);

/// Leave to work on a lease, until it is dropped.
#[derive(Debug)]
pub(crate) enum Turn {
    /// With others.
    Beside { _others: OwnedRwLockReadGuard<()> },
    /// With nobody.
    Alone { _nobody: OwnedRwLockWriteGuard<()> },
}

/// Why a lease gets no turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoTurn {
    /// It was taken back meanwhile.
    Cancelled,
    /// It would have to wait for too long.
    GiveBack(NackReason),
}

impl Turns {
    /// Waits until work on a lease may begin. When what is to be alone may, its queue knows it too.
    pub(crate) async fn take(&self, held: &HeldLease) -> Result<Turn, NoTurn> {
        if !held.alone {
            let Ok(others) = Arc::clone(&self.0).try_read_owned() else { return self.wait(held).await };
            return Ok(Turn::Beside { _others: others });
        }
        let alone = async {
            let nobody = Arc::clone(&self.0).write_owned().await;
            held.begin_alone().await.then_some(Turn::Alone { _nobody: nobody })
        };
        tokio::select! {
            turn = alone => turn.ok_or(NoTurn::Cancelled),
            () = held.wait_cancelled() => Err(NoTurn::Cancelled),
        }
    }

    /// Ends the turn of what is done. What was alone keeps it until its outcomes are recorded: if the next one killed the worker
    /// while they are on their way, the queue would take them for lost with it.
    pub(crate) fn end(turn: Turn, held: &Arc<HeldLease>) {
        let Turn::Alone { .. } = turn else { return };
        let held = Arc::clone(held);
        tokio::spawn(async move {
            tokio::select! {
                () = held.wait_settled() => {}
                () = held.wait_cancelled() => {}
                () = sleep(SETTLED_WITHIN) => {}
            }
            drop(turn);
        });
    }

    /// Somebody is alone, or is about to be.
    async fn wait(&self, held: &HeldLease) -> Result<Turn, NoTurn> {
        tokio::select! {
            others = timeout(PATIENCE, Arc::clone(&self.0).read_owned()) => match others {
                Ok(others) => Ok(Turn::Beside { _others: others }),
                Err(_) => Err(NoTurn::GiveBack(NackReason::Overloaded)),
            },
            () = held.wait_cancelled() => Err(NoTurn::Cancelled),
        }
    }
}

#[cfg(test)]
mod tests;
