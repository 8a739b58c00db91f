//! Where the queue has its time and its chance from: the machine, or, in a simulation, the seed of the schedule that this
//! thread runs (see `sim`).

use std::time::{Instant, SystemTime};

/// The monotonic clock.
pub(crate) fn instant() -> Instant {
    #[cfg(test)]
    if let Some(simulated) = simulated::instant() {
        return simulated;
    }
    Instant::now()
}

/// The time of day, which people may set.
pub(crate) fn system() -> SystemTime {
    #[cfg(test)]
    if let Some(simulated) = simulated::system() {
        return simulated;
    }
    SystemTime::now()
}

/// What cannot be guessed.
pub(crate) fn random_bytes() -> [u8; 10] {
    #[cfg(test)]
    if let Some(simulated) = simulated::random_bytes() {
        return simulated;
    }
    rand::random()
}

#[cfg(test)]
pub(crate) mod simulated {
    //! The time of one thread, while it runs a simulation.

    use std::{
        cell::Cell,
        time::{Duration, Instant, SystemTime, UNIX_EPOCH},
    };

    #[derive(Clone, Copy)]
    struct Simulated {
        began: Instant,
        now: Duration,
        wall: Duration,
        random: u64,
    }

    thread_local! {
        static HERE: Cell<Option<Simulated>> = const { Cell::new(None) };
    }

    /// From now on this thread's clocks stand still, and its chance depends on `seed` only. Until it is dropped.
    pub(crate) struct Simulation(());

    impl Simulation {
        pub(crate) fn begin(seed: u64) -> Self {
            let simulated =
                Simulated { began: Instant::now(), now: Duration::ZERO, wall: Duration::ZERO, random: seed };
            HERE.set(Some(simulated));
            Self(())
        }
    }

    impl Drop for Simulation {
        fn drop(&mut self) {
            HERE.set(None);
        }
    }

    /// It is so long after the simulation's beginning, and this time of day after 1970.
    pub(crate) fn set(now: Duration, wall: Duration) {
        HERE.set(HERE.get().map(|here| Simulated { now, wall, ..here }));
    }

    pub(super) fn instant() -> Option<Instant> {
        HERE.get().map(|here| here.began + here.now)
    }

    pub(super) fn system() -> Option<SystemTime> {
        HERE.get().map(|here| UNIX_EPOCH + here.wall)
    }

    pub(super) fn random_bytes() -> Option<[u8; 10]> {
        let mut here = HERE.get()?;
        let mut bytes = [0; 10];
        for part in bytes.chunks_mut(5) {
            // SplitMix64 (Steele, Lea, Flood 2014).
            here.random = here.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mixed = (here.random ^ (here.random >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            part.copy_from_slice(&(mixed ^ (mixed >> 31)).to_le_bytes()[..5]);
        }
        HERE.set(Some(here));
        Some(bytes)
    }
}
