//! What a seed makes of the world before anything happens: how many take part, how fast Postgres is, and what goes wrong.

use std::time::Duration;

use super::{chance::Chance, content::Odds};

/// Faults that come at random moments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    OwnerDies,
    OwnerStalls,
    OwnerStops,
    LaneFails,
    ShardsStolen,
    WorkerDies,
    WorkerFreezes,
    StreamBreaks,
    StreamBreaksUnseen,
    MachineDies,
    ClockJumps,
    Operator,
    ClientReconnects,
    Cancel,
}

const FAULTS: [Fault; 14] = [
    Fault::OwnerDies,
    Fault::OwnerStalls,
    Fault::OwnerStops,
    Fault::LaneFails,
    Fault::ShardsStolen,
    Fault::WorkerDies,
    Fault::WorkerFreezes,
    Fault::StreamBreaks,
    Fault::StreamBreaksUnseen,
    Fault::MachineDies,
    Fault::ClockJumps,
    Fault::Operator,
    Fault::ClientReconnects,
    Fault::Cancel,
];

#[derive(Debug)]
pub(super) struct Plan {
    pub(super) seed: u64,
    pub(super) processes: usize,
    /// Into so many sets the shards are divided among owners.
    pub(super) groups: u8,
    /// One process and its workers are all there is: a crash may take them together.
    pub(super) alone: bool,
    pub(super) tenants: usize,
    pub(super) clients: usize,
    pub(super) workers: usize,
    pub(super) odds: Odds,
    /// Those that happen in this schedule, and how long it is between two.
    pub(super) faults: Vec<Fault>,
    pub(super) fault_pause: Duration,
    /// From then on nothing goes wrong any more.
    pub(super) calm_at: Duration,
    /// The longest that a commit takes, in µs, and so many of a thousand that take a hundred times as long.
    pub(super) commit_us: u64,
    pub(super) slow_commits: u32,
    /// Of a thousand transactions: Postgres refuses one of their units.
    pub(super) refusals: u32,
    /// Of a thousand transactions: the connection is lost before, or behind the commit.
    pub(super) lost_commits: u32,
    pub(super) lost_replies: u32,
    /// Of a thousand moments right before and right behind a commit: the owner dies.
    pub(super) boundary_deaths: u32,
    /// The longest that a frame is under way, in µs.
    pub(super) frame_us: u64,
    pub(super) window_batches: usize,
    pub(super) index_batches: usize,
    pub(super) payload_bytes: usize,
    pub(super) recent_bytes: usize,
    /// Clients that come back may have lost what they had cut.
    pub(super) recuts: bool,
}

impl Plan {
    pub(super) fn new(seed: u64) -> (Self, Chance) {
        let mut chance = Chance::new(seed);
        let chance_of = &mut chance;
        let processes = 1 + chance_of.index(3);
        let groups = if processes == 1 { 1 } else { [1, 1, 2, 3][chance_of.index(4)] };
        let alone = processes == 1 && chance_of.one_in(2);
        let odd = |chance: &mut Chance, most: u64| if chance.one_in(2) { 0 } else { chance.below(most) };
        let quiet = chance_of.one_in(12);
        let poison = odd(chance_of, 20);
        let odds = Odds {
            mismatched: odd(chance_of, 100),
            fails: odd(chance_of, 250),
            denied: odd(chance_of, 80),
            poison: if chance_of.one_in(3) { poison } else { 0 },
            hangs: if chance_of.one_in(6) { 12 } else { 0 },
            elsewhere: if chance_of.one_in(4) { 80 } else { 0 },
        };
        let mut faults: Vec<Fault> = FAULTS.into_iter().filter(|_| !quiet && chance_of.one_in(2)).collect();
        faults.retain(|fault| alone || *fault != Fault::MachineDies);
        let rate = |chance: &mut Chance, most: u64| {
            if quiet || chance.one_in(2) { 0 } else { chance.between(0, u32::try_from(most).unwrap_or(0)) }
        };
        let plan = Self {
            seed,
            processes,
            groups,
            alone,
            tenants: 1 + chance_of.index(3),
            clients: 1 + chance_of.index(6),
            workers: 1 + chance_of.index(4),
            odds,
            faults,
            fault_pause: chance_of.ms(100, 3000),
            calm_at: chance_of.ms(1500, 12_000),
            commit_us: [800, 5_000, 30_000, 200_000][chance_of.index(4)],
            slow_commits: rate(chance_of, 40),
            refusals: rate(chance_of, 60),
            lost_commits: rate(chance_of, 20),
            lost_replies: rate(chance_of, 30),
            boundary_deaths: rate(chance_of, 30),
            frame_us: [300, 2_000, 50_000][chance_of.index(3)],
            window_batches: [2, 4, 64, 64 * 1024][chance_of.index(4)],
            index_batches: [4, 30, 512 * 1024][chance_of.index(3)],
            payload_bytes: [600, 4_000, 1 << 26][chance_of.index(3)],
            recent_bytes: [0, 2_000, 1 << 26][chance_of.index(3)],
            recuts: chance_of.one_in(2),
        };
        (plan, chance)
    }

    /// Nothing goes wrong by itself.
    pub(super) fn nothing_fails(&mut self) {
        self.faults.clear();
        (self.refusals, self.lost_commits, self.lost_replies, self.boundary_deaths) = (0, 0, 0, 0);
    }
}
