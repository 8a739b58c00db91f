//! Processes that are killed and processes that are stopped: one of each role.

use std::{
    os::unix::process::ExitStatusExt as _,
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use super::{
    load::Load,
    matrix::{Fault, bound, withstands},
    stage::Stage,
};
use crate::support::{
    Role,
    wait::{PATIENCE, until},
};

/// Which process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Which {
    Gateway,
    Queue,
    Worker,
    Hash,
}

impl Which {
    pub(super) fn of(self, stage: &mut Stage) -> &mut Role {
        match self {
            Self::Gateway => &mut stage.gateways[0],
            Self::Queue => &mut stage.queues[0],
            Self::Worker => &mut stage.workers[0],
            Self::Hash => &mut stage.hash,
        }
    }
}

/// By which signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    Kill,
    Stop,
}

/// An owner's shards are another's by then.
const TAKEOVER: Duration = Duration::from_secs(7);

#[derive(Debug)]
struct Signalled {
    which: Which,
    by: By,
}

impl Fault for Signalled {
    async fn begin(&mut self, stage: &mut Stage, _: &mut Load) {
        let process = &mut self.which.of(stage).process;
        match self.by {
            By::Kill => process.kill(),
            By::Stop => process.freeze(),
        }
    }

    async fn hit(&mut self, stage: &mut Stage, load: &mut Load) -> String {
        let began = Instant::now();
        let which = self.which;
        let process = &mut which.of(stage).process;
        let state = match self.by {
            By::Kill => {
                let status = process.exited().expect("it was killed");
                assert_eq!(status.signal(), Some(9), "{status}");
                status.to_string()
            }
            By::Stop => {
                let state = process.state();
                assert_eq!(state, 'T', "it is not stopped");
                format!("state {state}")
            }
        };
        let shows = match which {
            Which::Queue => {
                stage.lost_by(0).await;
                let took = began.elapsed();
                assert!(took <= bound(TAKEOVER), "taken over after {took:?}");
                let resumed = load.goes_on(1).await;
                format!("taken over after {took:?}, work resumed {resumed:?} later")
            }
            Which::Hash => {
                let failed = load.answered().failed_digests.clone();
                let seen = failed.load(Ordering::Relaxed);
                let more = async || (failed.load(Ordering::Relaxed) > seen).then_some(());
                until("a digest that cannot be had", PATIENCE, more).await;
                "a digest could not be had".to_owned()
            }
            // The work of both goes on without them.
            Which::Worker => format!("work went on after {:?}", load.goes_on(1).await),
            Which::Gateway => "its clients wait".to_owned(),
        };
        format!("{which:?} {state}, {shows}")
    }

    async fn end(&mut self, stage: &mut Stage) {
        let role = self.which.of(stage);
        match self.by {
            By::Kill => role.restart().await,
            By::Stop => role.process.thaw(),
        }
    }
}

macro_rules! signalled {
    ($($name:ident: $which:ident $by:ident;)*) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            withstands(stringify!($name), || Signalled { which: Which::$which, by: By::$by }).await;
        }
    )*};
}

signalled! {
    a_gateway_is_killed: Gateway Kill;
    a_gateway_is_stopped: Gateway Stop;
    an_owner_is_killed: Queue Kill;
    an_owner_is_stopped: Queue Stop;
    a_worker_is_killed: Worker Kill;
    a_worker_is_stopped: Worker Stop;
    the_hash_service_is_killed: Hash Kill;
    the_hash_service_is_stopped: Hash Stop;
}
