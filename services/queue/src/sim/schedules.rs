//! Runs schedules, one or very many, and says how they went.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    panic::catch_unwind,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use super::world::{Options, Report, World};
use crate::clock::simulated::Simulation;

/// Runs the schedule of a seed.
pub(super) fn run(seed: u64, keep_lines: bool) -> Report {
    run_with(seed, Options { keep_lines, ..Options::default() })
}

pub(super) fn run_with(seed: u64, options: Options) -> Report {
    let _simulation = Simulation::begin(seed);
    // A panic of the product is a violation like others.
    let ended = catch_unwind(|| World::new(seed, options).run());
    ended.unwrap_or_else(|panic| {
        let said = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
        let violation = Some(format!("panic: {}", said.unwrap_or_default()));
        Report { violation, ..Report::default() }
    })
}

/// Runs it twice. What differs between the two is a violation.
pub(super) fn run_twice(seed: u64) -> Report {
    let (first, second) = (run(seed, false), run(seed, false));
    let mut report = first;
    if report.violation.is_none() && report.trace != second.trace {
        report.violation = Some("not deterministic: the same seed had two traces".to_owned());
    }
    report
}

/// How many schedules went.
#[derive(Debug, Default)]
pub(super) struct Summary {
    pub(super) schedules: u64,
    pub(super) failed: Vec<(u64, String)>,
    pub(super) counts: BTreeMap<&'static str, u64>,
    pub(super) events: u64,
    pub(super) virtual_time: Duration,
    pub(super) took: Duration,
    /// Of all traces, in the order of the seeds.
    pub(super) digest: u64,
}

impl Summary {
    fn add(&mut self, seed: u64, report: Report) {
        self.schedules += 1;
        self.events += report.events;
        self.virtual_time += report.virtual_time;
        for (what, count) in report.counts {
            *self.counts.entry(what).or_default() += count;
        }
        let (head, _) = report.trace.split_at(8);
        let head = head.iter().fold(0, |head, byte| head << 8 | u64::from(*byte));
        self.digest = self.digest.wrapping_add(super::chance::mix(head ^ seed));
        self.failed.extend(report.violation.map(|violation| (seed, violation)));
    }

    fn merge(&mut self, other: Self) {
        self.schedules += other.schedules;
        self.events += other.events;
        self.virtual_time += other.virtual_time;
        for (what, count) in other.counts {
            *self.counts.entry(what).or_default() += count;
        }
        self.digest = self.digest.wrapping_add(other.digest);
        self.failed.extend(other.failed);
        self.failed.sort_unstable();
    }

    /// For people and for `make evidence`: JSON, one number a line.
    pub(super) fn to_json(&self) -> String {
        let seconds = self.took.as_secs_f64();
        let mut text = String::from("{\n");
        let _ = writeln!(text, "  \"schedules\": {},", self.schedules);
        let _ = writeln!(text, "  \"violations\": {},", self.failed.len());
        let _ = writeln!(
            text,
            "  \"each_run_twice_with_the_same_trace\": {},",
            !self.failed.iter().any(|(_, why)| why.starts_with("not deterministic"))
        );
        let _ = writeln!(text, "  \"traces\": \"{:016x}\",", self.digest);
        let _ = writeln!(text, "  \"events\": {},", self.events);
        let _ = writeln!(text, "  \"virtual_seconds\": {},", self.virtual_time.as_secs());
        let _ = writeln!(text, "  \"seconds\": {seconds:.1},");
        #[allow(clippy::cast_precision_loss)] // far below
        let rate = self.schedules as f64 / seconds.max(1e-9);
        let _ = writeln!(text, "  \"schedules_per_second\": {rate:.0},");
        let _ = writeln!(text, "  \"happened\": {{");
        let counts: Vec<String> = self.counts.iter().map(|(what, count)| format!("    \"{what}\": {count}")).collect();
        let _ = writeln!(text, "{}\n  }},", counts.join(",\n"));
        let failed: Vec<String> = self.failed.iter().map(|(seed, _)| seed.to_string()).collect();
        let _ = writeln!(text, "  \"failed_seeds\": [{}]\n}}", failed.join(", "));
        text
    }
}

/// Runs so many schedules from `first` on, with every core, each twice.
pub(super) fn run_many(first: u64, schedules: u64) -> Summary {
    let began = Instant::now();
    let next = AtomicU64::new(0);
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let mut all = Summary::default();
    std::thread::scope(|scope| {
        let work = || {
            let mut mine = Summary::default();
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                // A few violations tell as much as many.
                if number >= schedules || mine.failed.len() >= 10 {
                    return mine;
                }
                let seed = first + number;
                mine.add(seed, run_twice(seed));
            }
        };
        let threads: Vec<_> = (0..cores).map(|_| scope.spawn(work)).collect();
        threads.into_iter().for_each(|thread| all.merge(thread.join().unwrap_or_default()));
    });
    all.took = began.elapsed();
    all
}

/// What whoever sees a violation needs: how to run it again, how to keep it, and how it came about.
pub(super) fn explain(seed: u64) -> String {
    let report = run(seed, true);
    let why = report.violation.unwrap_or_else(|| "none this time".to_owned());
    // All of it if it is to be kept in a file, else as much as fits a terminal.
    let most = if std::env::var_os("HASHMESH_SIM_TRACE").is_some() { usize::MAX } else { 200 };
    let shown = report.lines.len().saturating_sub(most);
    format!(
        "seed {seed}: {why}\n\
         trace ({} lines, the last of them; HASHMESH_SIM_TRACE=1 shows all):\n{}\n\
         seed {seed}: {why}\n\
         run it alone:   HASHMESH_SIM_SEED={seed} HASHMESH_SIM_SCHEDULES=1 cargo test -p hashmesh-queue --lib \
         sim::tests::schedules_of_the_environment -- --ignored --nocapture\n\
         keep it:        echo '{seed}  # {why}' >> services/queue/simulation/regressions.txt\n",
        report.lines.len(),
        report.lines[shown..].join("\n"),
    )
}
