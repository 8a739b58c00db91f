//! Clocks that are set wrong while a process runs: its own alone, by libfaketime, never the machine's.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use serde_json::Value;
use tokio_postgres::Client;

use super::{
    load::Load,
    matrix::{Fault, withstands},
    roles::Which,
    stage::{Needs, Stage},
};
use crate::support::rundir;

/// How far clocks are off, either way, in seconds.
const HOUR: i64 = 3_600;

/// Whose clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Whose {
    Role(Which),
    Postgres,
}

#[derive(Debug)]
struct Step {
    whose: Whose,
    seconds: i64,
    /// What libfaketime reads at each look at the clock.
    file: PathBuf,
    /// A session of Postgres' from before the step.
    session: Option<Client>,
    /// What the process took for the present, less what it was, at the last look.
    seen: f64,
}

impl Step {
    fn new(whose: Whose, seconds: i64) -> Self {
        Self { whose, seconds, file: rundir::directory("clock").join("offset"), session: None, seen: 0.0 }
    }

    /// From now on the process's clock is so far off.
    fn set(&self, seconds: i64) {
        // In one step: a reader sees the one or the other.
        let aside = self.file.with_extension("new");
        fs::write(&aside, format!("{seconds:+}\n")).expect("a file");
        fs::rename(&aside, &self.file).expect("a file");
    }

    fn assert_seen(&self) {
        let off = (self.seen - self.seconds as f64).abs();
        assert!(off < 60.0, "the clock was to be {} s off, and was {} s", self.seconds, self.seen);
    }
}

/// The library, wherever this Debian has it.
fn library() -> String {
    let found = fs::read_dir("/usr/lib").into_iter().flatten().flatten();
    let mut found = found.map(|entry| entry.path().join("faketime/libfaketimeMT.so.1")).filter(|path| path.exists());
    found.next().expect("libfaketime is missing: run make setup").to_string_lossy().into_owned()
}

fn since_epoch() -> f64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("it is after 1970").as_secs_f64()
}

impl Fault for Step {
    fn needs(&mut self, _seed: u64) -> Needs {
        self.set(0);
        let faked = [
            ("LD_PRELOAD", library()),
            ("FAKETIME_TIMESTAMP_FILE", self.file.to_string_lossy().into_owned()),
            ("FAKETIME_NO_CACHE", "1".to_owned()),
            // A step of the wall clock is none of the monotonic one.
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
            ("DONT_FAKE_MONOTONIC", "1".to_owned()),
        ];
        let faked: Vec<_> = faked.map(|(name, value)| (name.to_owned(), value)).to_vec();
        match self.whose {
            Whose::Role(Which::Queue) => Needs { queue: faked, ..Needs::default() },
            Whose::Role(Which::Gateway) => Needs { gateways: faked, ..Needs::default() },
            Whose::Role(_) => Needs { workers: faked, ..Needs::default() },
            Whose::Postgres => Needs { postgres: faked, ..Needs::default() },
        }
    }

    async fn begin(&mut self, stage: &mut Stage, _: &mut Load) {
        if self.whose == Whose::Postgres {
            let session = stage.database().client().await;
            session.batch_execute("SELECT now()").await.expect("it answers");
            self.session = Some(session);
        }
        self.set(self.seconds);
    }

    async fn hit(&mut self, _: &mut Stage, load: &mut Load) -> String {
        load.goes_on(10).await;
        if let Some(session) = &self.session {
            let now = "SELECT extract(epoch FROM clock_timestamp())::double precision";
            let now = session.query_one(now, &[]).await.expect("it answers");
            self.seen = now.get::<_, f64>(0) - since_epoch();
            self.assert_seen();
        }
        format!("{:?}: the clock is {} s off", self.whose, self.seconds)
    }

    async fn end(&mut self, stage: &mut Stage) {
        if let Whose::Role(which) = self.whose {
            // What it says last has its own idea of the time. It must be able to stop in order with it, too.
            let role = which.of(stage);
            let status = role.terminate().await;
            assert!(status.success(), "{status}");
            let log = role.process.log();
            let last: Value = log.lines().last().and_then(|line| serde_json::from_str(line).ok()).expect("JSON");
            let time = seconds_of(last["timestamp"].as_str().expect("a time"));
            self.seen = time - since_epoch();
            self.assert_seen();
            self.set(0);
            role.restart().await;
        } else {
            self.set(0);
        }
    }

    fn times_are_in_order(&self) -> bool {
        self.whose != Whose::Postgres
    }

    fn recovers_within(&self) -> Option<Duration> {
        Some(Duration::from_secs(7))
    }
}

impl Drop for Step {
    /// What libfaketime leaves behind of processes that were killed, which is named after them.
    fn drop(&mut self) {
        for entry in fs::read_dir("/dev/shm").into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let kinds = ["sem.faketime_sem_", "faketime_shm_"];
            let pid = kinds.into_iter().find_map(|kind| name.strip_prefix(kind)?.parse::<u32>().ok());
            if pid.is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists()) {
                // Another test may be as quick.
                let _ = fs::remove_file(entry.path());
            }
        }
    }
}

/// Seconds since 1970 of a time of a log.
fn seconds_of(time: &str) -> f64 {
    let time: prost_types::Timestamp = time.parse().unwrap_or_else(|error| panic!("{time}: {error:?}"));
    time.seconds as f64
}

macro_rules! steps {
    ($($(#[$attribute:meta])? $name:ident: $whose:expr, $seconds:expr;)*) => {$(
        $(#[$attribute])?
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            withstands(stringify!($name), || Step::new($whose, $seconds)).await;
        }
    )*};
}

steps! {
    the_clock_of_a_queue_jumps_ahead: Whose::Role(Which::Queue), HOUR;
    #[ignore = "make faults"] the_clock_of_a_queue_jumps_back: Whose::Role(Which::Queue), -HOUR;
    #[ignore = "make faults"] the_clock_of_the_gateways_jumps_ahead: Whose::Role(Which::Gateway), HOUR;
    #[ignore = "make faults"] the_clock_of_the_gateways_jumps_back: Whose::Role(Which::Gateway), -HOUR;
    #[ignore = "make faults"] the_clock_of_the_workers_jumps_ahead: Whose::Role(Which::Worker), HOUR;
    #[ignore = "make faults"] the_clock_of_the_workers_jumps_back: Whose::Role(Which::Worker), -HOUR;
    #[ignore = "make faults"] the_clock_of_postgres_jumps_ahead: Whose::Postgres, HOUR;
    #[ignore = "make faults"] the_clock_of_postgres_jumps_back: Whose::Postgres, -HOUR;
}
