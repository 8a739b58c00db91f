//! What may happen, in any order.

use super::{
    order::{Order, order},
    *,
};

/// What happens next. Numbers choose among what there is, modulo its size.
#[derive(Clone, Debug)]
pub(in crate::core::tests) enum Step {
    Create {
        tenant: usize,
        order: Order,
    },
    Pause {
        tenant: Option<usize>,
        paused: bool,
    },
    Limit {
        tenant: usize,
        max_leased: Option<u32>,
    },
    /// Somebody sets the clock.
    SetClock {
        ms: i64,
    },
    Append {
        submission: usize,
        task_count: u32,
        by_reference: bool,
    },
    Repeat {
        submission: usize,
    },
    Seal {
        submission: usize,
    },
    Cancel {
        submission: usize,
    },
    /// `again`: a process that was there before.
    Connect {
        again: Option<usize>,
    },
    Credit {
        worker: usize,
        tasks: u32,
    },
    Disconnect {
        worker: usize,
    },
    /// A worker stops reading what is sent to it, or reads all of it.
    Read {
        worker: usize,
        reads: bool,
    },
    /// A worker answers part of a lease it was granted at any time, perhaps one long over.
    Outcomes {
        lease: usize,
        skip: u32,
        take: u32,
        verdicts: Vec<u8>,
        last: bool,
    },
    Nack {
        lease: usize,
        delay_ms: u64,
    },
    Heartbeat {
        worker: usize,
    },
    Pass {
        ms: u64,
    },
    /// All that a submission's lane holds is committed.
    Commit {
        submission: usize,
    },
    /// One of the reads that the core asked for is answered.
    Load {
        read: usize,
    },
    /// Rows that the core waits for are in the table.
    WriteAhead,
    /// What is written behind is taken.
    WriteBehind,
    /// The owner dies; the next one starts from what was committed. `crash`: its workers died with it.
    Restart {
        eager: bool,
        crash: bool,
    },
}

pub(in crate::core::tests) fn step() -> impl Strategy<Value = Step> {
    let any_index = 0usize..1000;
    prop_oneof![
        1 => (0..TENANTS.len(), order()).prop_map(|(tenant, order)| Step::Create { tenant, order }),
        1 => (prop::option::of(0..TENANTS.len()), any::<bool>()).prop_map(|(tenant, paused)| Step::Pause { tenant, paused }),
        1 => (0..TENANTS.len(), prop::option::of(1u32..60)).prop_map(|(tenant, max_leased)| Step::Limit { tenant, max_leased }),
        1 => (-5000i64..5000).prop_map(|ms| Step::SetClock { ms }),
        4 => (any_index.clone(), 1u32..40, any::<bool>()).prop_map(|(submission, task_count, by_reference)| Step::Append { submission, task_count, by_reference }),
        1 => any_index.clone().prop_map(|submission| Step::Repeat { submission }),
        1 => any_index.clone().prop_map(|submission| Step::Seal { submission }),
        1 => any_index.clone().prop_map(|submission| Step::Cancel { submission }),
        2 => prop::option::of(any_index.clone()).prop_map(|again| Step::Connect { again }),
        4 => (any_index.clone(), 1u32..100).prop_map(|(worker, tasks)| Step::Credit { worker, tasks }),
        1 => any_index.clone().prop_map(|worker| Step::Disconnect { worker }),
        1 => (any_index.clone(), any::<bool>()).prop_map(|(worker, reads)| Step::Read { worker, reads }),
        8 => (any_index.clone(), 0u32..10, 1u32..40, prop::collection::vec(0u8..6, 1..6), any::<bool>())
            .prop_map(|(lease, skip, take, verdicts, last)| Step::Outcomes { lease, skip, take, verdicts, last }),
        1 => (any_index.clone(), 0u64..3000).prop_map(|(lease, delay_ms)| Step::Nack { lease, delay_ms }),
        3 => any_index.clone().prop_map(|worker| Step::Heartbeat { worker }),
        6 => any_index.clone().prop_map(|submission| Step::Commit { submission }),
        6 => any_index.prop_map(|read| Step::Load { read }),
        3 => Just(Step::WriteAhead),
        2 => Just(Step::WriteBehind),
        3 => (1u64..4000).prop_map(|ms| Step::Pass { ms }),
        1 => any::<(bool, bool)>().prop_map(|(eager, crash)| Step::Restart { eager, crash }),
    ]
}
