//! How much may be known of leases at a time. Whoever is urgent waits for one other at most.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::execute::{Door, Plan, Standing};

/// What a task's place, state and answer take besides its URI and digests, in bytes.
const TASK_BYTES: usize = 512;

/// Room for memos, in bytes.
#[derive(Debug)]
pub(crate) struct MemoRoom {
    /// Who is next.
    door: Door,
    bytes: Arc<Semaphore>,
    most: u32,
}

impl MemoRoom {
    pub(crate) fn new(bytes: usize) -> Self {
        let most = u32::try_from(bytes.clamp(1, Semaphore::MAX_PERMITS)).unwrap_or(u32::MAX);
        Self { door: Door::new(1), bytes: Arc::new(Semaphore::new(most as usize)), most }
    }

    /// Waits for room for what may become known of a lease's objects; one that needs more than there is takes all of it.
    pub(crate) async fn enter(&self, standing: Standing, plan: &Plan) -> Option<OwnedSemaphorePermit> {
        let wanted = u32::try_from(needed(plan)).unwrap_or(u32::MAX).clamp(1, self.most);
        let _turn = self.door.enter(standing, u64::from(wanted)).await;
        // Nobody closes it.
        Arc::clone(&self.bytes).acquire_many_owned(wanted).await.ok()
    }
}

fn needed(plan: &Plan) -> usize {
    // A URI is there as it is asked for, and as it is put.
    2 * plan.tasks.data.len() + plan.task_count * (TASK_BYTES + 2 * hashmesh::algorithm::stride(&plan.algorithms))
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;
    use hashmesh::{
        queue::v1::Lease,
        v1::{Algorithm, PackedTasks},
    };
    use prost::Message as _;

    use super::*;

    fn plan(tasks: usize) -> Plan {
        let uri = "s3://b/k";
        let columns = PackedTasks {
            data: uri.repeat(tasks).into(),
            lengths: vec![uri.len() as u32; tasks],
            kinds: vec![1; tasks].into(),
            ..PackedTasks::default()
        };
        let lease = Lease {
            tasks: columns.encode_to_vec().into(),
            task_count: tasks as u32,
            algorithms: vec![Algorithm::Sha256.into()],
            ..Lease::default()
        };
        Plan::new(&lease, 1).unwrap()
    }

    #[tokio::test]
    async fn as_much_is_known_at_a_time_as_there_is_room_and_the_urgent_pass_those_who_wait() {
        let small = needed(&plan(1));
        let room = MemoRoom::new(2 * small);
        let standing = |priority| Standing { priority, flow: 1 };
        let one = plan(1);
        let first = room.enter(standing(5), &one).now_or_never().flatten().unwrap();
        let second = room.enter(standing(5), &one).now_or_never().flatten().unwrap();
        let large = plan(100);
        let mut next = Box::pin(room.enter(standing(5), &large));
        assert!(next.as_mut().now_or_never().is_none());
        let mut waits = Box::pin(room.enter(standing(5), &one));
        let mut urgent = Box::pin(room.enter(standing(9), &one));
        assert!(waits.as_mut().now_or_never().is_none() && urgent.as_mut().now_or_never().is_none());
        drop((first, second));
        let all = next.now_or_never().flatten().unwrap();
        assert!(urgent.as_mut().now_or_never().is_none());
        drop(all);
        let _urgent = urgent.now_or_never().flatten().unwrap();
        assert!(waits.now_or_never().flatten().is_some());
    }
}
