//! How every fault is tried: under the same load, and judged alike.

use std::{
    fs,
    io::Write as _,
    path::Path,
    time::{Duration, Instant},
};

use super::{
    judge,
    load::Load,
    stage::{Needs, Stage},
};
use crate::support::heavy;

/// Something that goes wrong for a while.
pub(super) trait Fault {
    /// What the mesh must be started with for it. What it chooses follows from the seed.
    fn needs(&mut self, _seed: u64) -> Needs {
        Needs::default()
    }

    /// How long it lasts once it has hit, at least.
    fn lasts(&self) -> Duration {
        if heavy::long() { Duration::from_secs(10) } else { Duration::from_secs(1) }
    }

    /// Begins it.
    async fn begin(&mut self, stage: &mut Stage, load: &mut Load);

    /// Waits until it has hit, and says by what that shows. Panics if it does not.
    async fn hit(&mut self, stage: &mut Stage, load: &mut Load) -> String;

    /// Puts an end to it: from now on the mesh has what it needs.
    async fn end(&mut self, stage: &mut Stage);

    /// How soon after the end every writer must have an acknowledgement, where that is promised.
    fn recovers_within(&self) -> Option<Duration> {
        None
    }

    /// False if the clock of Postgres was wrong: then times in the tables say nothing about what was first.
    fn times_are_in_order(&self) -> bool {
        true
    }

    /// A last look, when everything is done.
    async fn after(&mut self, _stage: &mut Stage) {}
}

/// What differs between runs of one fault: the one that `HASHMESH_FAULT_SEED` names; else a new one, and in the long version
/// before it those of `tests/faults/regressions/NAME`, which once found something.
fn seeds(name: &str) -> Vec<u64> {
    if let Ok(seed) = std::env::var("HASHMESH_FAULT_SEED") {
        return vec![seed.parse().expect("HASHMESH_FAULT_SEED is a number")];
    }
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/faults/regressions").join(name);
    let known = if heavy::long() { fs::read_to_string(file).unwrap_or_default() } else { String::new() };
    let known = known.lines().map(|line| line.parse().expect("a line is a seed"));
    // Short enough to be typed, and for programs that know floating-point numbers only.
    known.chain([u64::from(rand::random::<u32>())]).collect()
}

/// A bound as it is promised in the long version; with room for a busy machine in the short one.
pub(super) fn bound(promised: Duration) -> Duration {
    if heavy::long() { promised } else { promised + Duration::from_secs(5) }
}

/// Lets a fault happen to a mesh under load, and checks that the load ran, that the fault hit, and that nothing was lost,
/// repeated or made up.
pub(super) async fn withstands<F: Fault>(name: &str, fault: impl Fn() -> F) {
    let _turn = heavy::turn().await;
    for seed in seeds(name) {
        withstands_once(name, seed, fault()).await;
    }
}

async fn withstands_once(name: &str, seed: u64, mut fault: impl Fault) {
    println!("{name}: HASHMESH_FAULT_SEED={seed}");
    let began = Instant::now();
    let mut stage = Stage::start(&format!("fault-{name}"), seed, fault.needs(seed)).await;
    let mut load = Load::start(&stage);
    load.goes_on(5).await;

    let acknowledged_before = load.acknowledged();
    fault.begin(&mut stage, &mut load).await;
    let hit = fault.hit(&mut stage, &mut load).await;
    tokio::time::sleep(fault.lasts()).await;
    fault.end(&mut stage).await;
    let recovered = load.goes_on(1).await;
    load.goes_on(10).await;

    let acknowledged = load.acknowledged();
    let answered = load.answered().clone();
    let database = stage.database();
    let done = load.finish(&database).await;
    fault.after(&mut stage).await;
    let wrong = judge::faults(&database, &done.cancelled, fault.times_are_in_order()).await;

    let violations = wrong.len() + done.verdicts.iter().filter(|verdict| !verdict.clean()).count();
    report(&serde_json::json!({
        "fault": name,
        "seed": seed,
        "long": heavy::long(),
        "hit": hit,
        "tasks": done.tasks,
        "batches_acknowledged": acknowledged,
        "batches_acknowledged_before": acknowledged_before,
        "calls_answered": answered.count(),
        "calls_made_again": done.failed_calls,
        "streams_broken": done.outages,
        "recovered_seconds": recovered.as_secs_f64(),
        "seconds": began.elapsed().as_secs_f64(),
        "violations": violations,
    }));
    for verdict in &done.verdicts {
        verdict.assert_clean();
    }
    assert!(wrong.is_empty(), "the tables break promises:\n{}", wrong.join("\n"));
    assert!(acknowledged_before > 0 && acknowledged > acknowledged_before, "there was no load");
    assert!(!done.cancelled.is_empty(), "nothing was cancelled");
    if let Some(promised) = fault.recovers_within() {
        assert!(recovered <= bound(promised), "recovered after {recovered:?}, promised within {promised:?}");
    }
}

/// Says what happened, and appends it to the file that `HASHMESH_FAULT_REPORT` names.
pub(super) fn report(run: &serde_json::Value) {
    println!("{run}");
    let Some(path) = std::env::var_os("HASHMESH_FAULT_REPORT") else { return };
    let file = fs::OpenOptions::new().create(true).append(true).open(path);
    writeln!(file.expect("a file for the report"), "{run}").expect("it can be written");
}
