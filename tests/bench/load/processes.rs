//! Memory and CPU of processes, as the kernel counts them.

use std::{fs, time::Instant};

use crate::Outcome;

/// Ticks a second of `/proc/PID/stat`, on every Linux.
const HERTZ: f64 = 100.0;

#[derive(Clone, Debug)]
pub(crate) struct Processes(Vec<(String, u32)>);

/// What they have used so far.
#[derive(Clone, Debug)]
pub(crate) struct Used {
    at: Instant,
    seconds: Vec<(String, f64)>,
}

impl Processes {
    pub(crate) fn read(text: &str) -> Outcome<Self> {
        let one = |text: &str| -> Outcome<_> {
            let (name, pid) = text.split_once('=').ok_or("wanted NAME=PID")?;
            Ok((name.to_owned(), pid.parse()?))
        };
        text.split(',').map(one).collect::<Outcome<_>>().map(Self)
    }

    /// Resident memory of each, in KiB.
    pub(crate) fn memory_kib(&self) -> Outcome<Vec<(String, u64)>> {
        let one = |(name, pid): &(String, u32)| -> Outcome<_> {
            let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
            let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
            Ok((name.clone(), line.trim().trim_end_matches(" kB").parse()?))
        };
        self.0.iter().map(one).collect()
    }

    pub(crate) fn used(&self) -> Outcome<Used> {
        let me = ("load".to_owned(), std::process::id());
        let one = |(name, pid): &(String, u32)| -> Outcome<_> {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
            // Behind the name, which may have blanks.
            let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect();
            let ticks = |place: usize| fields.get(place).and_then(|text| text.parse::<f64>().ok()).unwrap_or_default();
            Ok((name.clone(), (ticks(11) + ticks(12)) / HERTZ))
        };
        let seconds = self.0.iter().chain([&me]).map(one).collect::<Outcome<_>>()?;
        Ok(Used { at: Instant::now(), seconds })
    }

    /// What each has used of one core since then.
    pub(crate) fn shares(&self, before: &Used) -> Outcome<String> {
        let now = self.used()?;
        let length = now.at.duration_since(before.at).as_secs_f64();
        let share = |((name, now), (_, before)): (&(String, f64), &(String, f64))| {
            format!("{name} {:.0}", (now - before) / length * 100.0)
        };
        let shares: Vec<String> = now.seconds.iter().zip(&before.seconds).map(share).collect();
        Ok(shares.join(", "))
    }
}

/// What the kernel itself has allocated in small pieces, in KiB: sockets are among them.
pub(crate) fn kernel_kib() -> Outcome<u64> {
    let text = fs::read_to_string("/proc/meminfo")?;
    let line = text.lines().find_map(|line| line.strip_prefix("Slab:")).ok_or("no Slab")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}
