//! Ways between two processes on which something is wrong: slow, narrow, torn, half open, swallowing all, still, reset.

use std::time::Duration;

use super::{
    load::Load,
    matrix::{Fault, withstands},
    stage::Stage,
};
use crate::support::{
    heavy,
    proxy::{Condition, Direction, Proxy},
    wait::{PATIENCE, until},
};

/// Between whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Between {
    ClientsAndGateways,
    GatewaysAndQueue,
    WorkersAndQueue,
    QueueAndPostgres,
}

impl Between {
    /// All ways to the Gateways; of the Queues only those of the first, so that there is another.
    fn of(self, stage: &Stage) -> &[Proxy] {
        let links = &stage.links;
        match self {
            Self::ClientsAndGateways => &links.clients,
            Self::GatewaysAndQueue => &links.gateways[..1],
            Self::WorkersAndQueue => &links.workers[..1],
            Self::QueueAndPostgres => &links.postgres[..1],
        }
    }

    fn hits(self, stage: &Stage) -> [u64; 3] {
        let each = self.of(stage).iter().map(Proxy::hits);
        each.fold([0; 3], |sum, hits| std::array::from_fn(|counter| sum[counter] + hits[counter]))
    }
}

#[derive(Debug)]
struct Link {
    between: Between,
    condition: Condition,
}

impl Fault for Link {
    fn lasts(&self) -> Duration {
        // Longer than an ownership and a lease last.
        if heavy::long() { Duration::from_secs(12) } else { Duration::from_secs(3) }
    }

    async fn begin(&mut self, stage: &mut Stage, _: &mut Load) {
        assert_eq!(self.between.hits(stage), [0; 3]);
        let passed = self.between.of(stage).iter().map(Proxy::passed_bytes).min();
        assert!(passed.is_some_and(|bytes| bytes > 0), "nobody goes this way");
        self.between.of(stage).iter().for_each(|proxy| proxy.becomes(self.condition));
    }

    async fn hit(&mut self, stage: &mut Stage, _: &mut Load) -> String {
        // What this condition does: delay, lose, or end connections.
        let wanted = match self.condition {
            Condition::Slow(_) | Condition::Narrow(_) | Condition::Still => 0,
            Condition::HalfOpen(_) | Condition::BlackHole => 1,
            Condition::Torn(_) | Condition::Reset => 2,
            Condition::Fair => unreachable!("nothing is wrong with it"),
        };
        let between = self.between;
        let hits = async || Some(between.hits(stage)).filter(|hits| hits[wanted] > 0);
        let [delayed, lost, ended] = until("the link to hit", PATIENCE, hits).await;
        format!("{delayed} bytes delayed, {lost} lost, {ended} connections ended at first")
    }

    async fn end(&mut self, stage: &mut Stage) {
        let [delayed, lost, ended] = self.between.hits(stage);
        println!("{self:?}: {delayed} bytes delayed, {lost} lost, {ended} connections ended");
        self.between.of(stage).iter().for_each(|proxy| proxy.becomes(Condition::Fair));
    }
}

macro_rules! links {
    ($($between:ident {$($(#[$attribute:meta])? $name:ident $condition:expr;)*})*) => {$($(
        $(#[$attribute])?
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            withstands(stringify!($name), || Link { between: Between::$between, condition: $condition }).await;
        }
    )*)*};
}

const SLOW: Condition = Condition::Slow(Duration::from_millis(20));
const NARROW: Condition = Condition::Narrow(64 * 1024);
const TORN: Condition = Condition::Torn(20_000);
const UP: Condition = Condition::HalfOpen(Direction::Up);
const DOWN: Condition = Condition::HalfOpen(Direction::Down);

links! {
    ClientsAndGateways {
        #[ignore = "make faults"] slow_between_clients_and_gateways SLOW;
        #[ignore = "make faults"] narrow_between_clients_and_gateways NARROW;
        #[ignore = "make faults"] torn_between_clients_and_gateways TORN;
        #[ignore = "make faults"] half_open_from_clients_to_gateways UP;
        #[ignore = "make faults"] half_open_from_gateways_to_clients DOWN;
        #[ignore = "make faults"] a_black_hole_between_clients_and_gateways Condition::BlackHole;
        #[ignore = "make faults"] still_between_clients_and_gateways Condition::Still;
        #[ignore = "make faults"] reset_between_clients_and_gateways Condition::Reset;
    }
    GatewaysAndQueue {
        #[ignore = "make faults"] slow_between_gateways_and_queue SLOW;
        #[ignore = "make faults"] narrow_between_gateways_and_queue NARROW;
        #[ignore = "make faults"] torn_between_gateways_and_queue TORN;
        half_open_from_gateways_to_queue UP;
        #[ignore = "make faults"] half_open_from_queue_to_gateways DOWN;
        #[ignore = "make faults"] a_black_hole_between_gateways_and_queue Condition::BlackHole;
        #[ignore = "make faults"] still_between_gateways_and_queue Condition::Still;
        #[ignore = "make faults"] reset_between_gateways_and_queue Condition::Reset;
    }
    WorkersAndQueue {
        #[ignore = "make faults"] slow_between_workers_and_queue SLOW;
        #[ignore = "make faults"] narrow_between_workers_and_queue NARROW;
        #[ignore = "make faults"] torn_between_workers_and_queue TORN;
        #[ignore = "make faults"] half_open_from_workers_to_queue UP;
        #[ignore = "make faults"] half_open_from_queue_to_workers DOWN;
        #[ignore = "make faults"] a_black_hole_between_workers_and_queue Condition::BlackHole;
        #[ignore = "make faults"] still_between_workers_and_queue Condition::Still;
        #[ignore = "make faults"] reset_between_workers_and_queue Condition::Reset;
    }
    QueueAndPostgres {
        #[ignore = "make faults"] slow_between_queue_and_postgres SLOW;
        #[ignore = "make faults"] narrow_between_queue_and_postgres NARROW;
        #[ignore = "make faults"] torn_between_queue_and_postgres TORN;
        #[ignore = "make faults"] half_open_from_queue_to_postgres UP;
        #[ignore = "make faults"] half_open_from_postgres_to_queue DOWN;
        a_black_hole_between_queue_and_postgres Condition::BlackHole;
        #[ignore = "make faults"] still_between_queue_and_postgres Condition::Still;
        #[ignore = "make faults"] reset_between_queue_and_postgres Condition::Reset;
    }
}
