//! What becomes of a mesh that is asked for more than it can do: `overload SERVER ADMIN_KEY_FILE INPUT PLACES PID SECONDS`.
//!
//! Each call submits a batch of one task, which names INPUT (a file of 1 MiB that a worker may read), and waits for its
//! committed outcome. The Gateway has PLACES for such calls, which bounds what the mesh does: the peak is what four times
//! as many callers get that ask again as soon as they are answered. Then calls come at a constant rate, whatever becomes of those before
//! (an open loop), at 0.5 to 10 times the peak, for SECONDS each; latencies count from when a call was due, not from when it
//! was sent. A run in which more than 1 % of the calls were sent over 10 ms late says nothing about the mesh: it is made
//! again, twice at most, and then the whole is void. PID is the mesh's process, whose resident memory is printed.
//!
//! Prints a row for each run, and fails where a promise does not hold.

use std::{
    error::Error,
    fs,
    process::ExitCode,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use hashmesh::{
    admin::v1::CreateKeyRequest,
    client::{Client, ClientConfig, KeyedChannel},
    error::{Reason, reason},
    gateway::v1::{SubmitBatchRequest, gateway_service_client::GatewayServiceClient, submit_batch_request::Tasks},
    keys::KeyText,
    v1::{CacheMode, ObjectReference, Scope, SubmissionOptions, Task, TaskRows, task::Source},
};
use tokio::task::JoinSet;

type Gateway = GatewayServiceClient<KeyedChannel>;
type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// What is offered, of the peak.
const LOADS: [f64; 6] = [0.5, 0.8, 1.0, 2.0, 4.0, 10.0];
/// When a caller who found no place asks again, while the peak is measured.
const SOON: Duration = Duration::from_millis(1);
/// Later than this, a call was not sent when it was due.
const LATE: Duration = Duration::from_millis(10);
/// How many may be late.
const MOST_LATE: f64 = 0.01;
/// Runs of one load until one kept its schedule.
const RUNS: usize = 3;
/// Connections of each tenant.
const CONNECTIONS: usize = 4;
/// What the resident memory may grow by, from the first run to the last.
const MOST_GROWTH_MIB: u64 = 256;

#[tokio::main]
async fn main() -> Outcome<ExitCode> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [server, key, input, places, pid, seconds] = &arguments[..] else {
        return Err("usage: overload SERVER ADMIN_KEY_FILE INPUT PLACES PID SECONDS".into());
    };
    let (places, pid, seconds): (usize, u32, u64) = (places.parse()?, pid.parse()?, seconds.parse()?);
    let bench = Bench { server, input, pid, length: Duration::from_secs(seconds) };
    let admin = KeyText::parse(fs::read_to_string(key)?.trim())?;
    let polite = bench.tenant(&admin, "polite").await?;
    let greedy = bench.tenant(&admin, "greedy").await?;

    // More than there are places and waiting calls, so that none is ever empty.
    bench.closed_loop(&greedy, 4 * places, Duration::from_secs(2)).await?;
    let peak = bench.closed_loop(&greedy, 4 * places, bench.length).await?;
    println!("peak {peak:.0} calls/s with {places} places");
    println!("{HEADER}");
    let mut verdict = Verdict::default();
    let memory = bench.memory_mib()?;
    let mut rows: Vec<Run> = Vec::new();
    for load in LOADS {
        let run = bench.on_schedule(&format!("{load}x"), peak, &[(&greedy, load)]).await?;
        rows.extend(run);
    }
    // What it is like 5 s after the worst.
    bench.open_loop("after", peak, &[(&greedy, 0.5)], Duration::from_secs(5)).await?;
    let after = bench.on_schedule("0.5x again", peak, &[(&greedy, 0.5)]).await?.remove(0);
    let shared = bench.on_schedule("4x and 0.2x", peak, &[(&greedy, 4.0), (&polite, 0.2)]).await?;

    // What the machine did at its best, if that is more: neighbours come and go.
    let peak = rows.iter().map(Run::goodput).fold(peak, f64::max);
    let usual = rows[1].p99();
    for (row, least) in rows[3..].iter().zip([0.9, 0.9, 0.8]) {
        let goodput = row.goodput() / peak;
        verdict.expect(goodput >= least, &format!("{}: goodput {goodput:.2} of the peak, wanted {least}", row.name));
        let times = row.p99() / usual;
        verdict.expect(
            times <= 2.0,
            &format!("{}: p99 of what was admitted is {times:.1} times that at 0.8x, wanted 2", row.name),
        );
    }
    let share = after.goodput() / rows[0].goodput();
    verdict.expect(share >= 0.95, &format!("5 s after 10x: goodput {share:.2} of what it was before, wanted 0.95"));
    let (greedy, polite) = (&shared[0], &shared[1]);
    let answered = polite.admitted_share();
    verdict.expect(answered >= 0.9, &format!("beside 4x of another tenant {answered:.2} are admitted, wanted 0.9"));
    let both = (greedy.goodput() + polite.goodput()) / peak;
    verdict.expect(both >= 0.8, &format!("two tenants: goodput {both:.2} of the peak, wanted 0.8"));
    let grown = bench.memory_mib()?.saturating_sub(memory);
    verdict.expect(grown <= MOST_GROWTH_MIB, &format!("memory grew by {grown} MiB, wanted at most {MOST_GROWTH_MIB}"));
    Ok(verdict.exit_code())
}

const HEADER: &str =
    "load           offered/s  goodput/s  refused/s  failed  p50 ms  p99 ms  refusal p99 ms  late %  memory MiB";

/// What holds and what does not.
#[derive(Debug, Default)]
struct Verdict {
    failed: bool,
}

impl Verdict {
    fn expect(&mut self, holds: bool, what: &str) {
        println!("{} {what}", if holds { "PASS" } else { "FAIL" });
        self.failed |= !holds;
    }

    fn exit_code(&self) -> ExitCode {
        if self.failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
    }
}

#[derive(Debug)]
struct Bench<'a> {
    server: &'a str,
    input: &'a str,
    pid: u32,
    length: Duration,
}

/// What one tenant got in one run.
#[derive(Debug, Default)]
struct Run {
    name: String,
    length: Duration,
    /// In ms, sorted, from when the call was due.
    admitted: Vec<f64>,
    refused: Vec<f64>,
    failed: u64,
    late: u64,
}

#[derive(Debug, Default)]
struct Counts {
    admitted: Mutex<Vec<f64>>,
    refused: Mutex<Vec<f64>>,
    failed: AtomicU64,
}

impl Bench<'_> {
    /// A tenant's clients, a connection each.
    async fn tenant(&self, admin: &KeyText, name: &str) -> Outcome<Vec<Gateway>> {
        let client = |key: &KeyText| {
            Client::connect(ClientConfig { api_key: Some(key.clone()), ..ClientConfig::new(self.server) })
        };
        let request = CreateKeyRequest {
            tenant: name.to_owned(),
            scopes: vec![Scope::Submit.into(), Scope::Read.into()],
            ..CreateKeyRequest::default()
        };
        let key = KeyText::parse(&client(admin)?.admin().create_key(request).await?.into_inner().text)?;
        (0..CONNECTIONS).map(|_| Ok(client(&key)?.gateway())).collect()
    }

    fn request(&self) -> SubmitBatchRequest {
        let uri = format!("file://{}", self.input);
        let source = Source::Object(ObjectReference { uri, ..ObjectReference::default() });
        let task = Task { name: "input".to_owned(), source: Some(source), ..Task::default() };
        let rows = TaskRows { tasks: vec![task] };
        // The same file each time, to be read each time.
        let options = Some(SubmissionOptions { cache: CacheMode::Bypass.into(), ..SubmissionOptions::default() });
        SubmitBatchRequest { options, tasks: Some(Tasks::Rows(rows)), wait: true, ..SubmitBatchRequest::default() }
    }

    /// Calls per second that so many callers get.
    async fn closed_loop(&self, clients: &[Gateway], callers: usize, length: Duration) -> Outcome<f64> {
        let (answered, end) = (Arc::new(AtomicU64::new(0)), Instant::now() + length);
        let mut calls = JoinSet::new();
        for caller in 0..callers {
            let (mut client, answered) = (clients[caller % clients.len()].clone(), Arc::clone(&answered));
            let request = self.request();
            calls.spawn(async move {
                while Instant::now() < end {
                    match client.submit_batch(request.clone()).await {
                        Ok(_) => _ = answered.fetch_add(1, Ordering::Relaxed),
                        Err(status) if reason(&status) == Some(Reason::Overloaded) => tokio::time::sleep(SOON).await,
                        Err(status) => return Err(status.into()),
                    }
                }
                Outcome::Ok(())
            });
        }
        while let Some(ended) = calls.join_next().await {
            ended??;
        }
        Ok(number(answered.load(Ordering::Relaxed)) / length.as_secs_f64())
    }

    /// A run that kept its schedule, printed.
    async fn on_schedule(&self, name: &str, peak: f64, offers: &[(&Vec<Gateway>, f64)]) -> Outcome<Vec<Run>> {
        for _ in 0..RUNS {
            let runs = self.open_loop(name, peak, offers, self.length).await?;
            for run in &runs {
                println!("{}  {:>10}", run.row(), self.memory_mib()?);
            }
            if runs.iter().all(|run| run.late_share() <= MOST_LATE) {
                return Ok(runs);
            }
            println!("void: too many calls were sent late; again");
        }
        Err("VOID: this machine has no time left to offer the load on schedule; is anything else running?".into())
    }

    /// Calls at a constant rate of so many peaks for each tenant.
    async fn open_loop(
        &self,
        name: &str,
        peak: f64,
        offers: &[(&Vec<Gateway>, f64)],
        length: Duration,
    ) -> Outcome<Vec<Run>> {
        let offer = async |(place, (clients, load)): (usize, &(&Vec<Gateway>, f64))| {
            let name = if offers.len() > 1 { format!("{name} #{}", place + 1) } else { name.to_owned() };
            self.offer(name, clients, peak * load, length).await
        };
        Ok(futures::future::join_all(offers.iter().enumerate().map(offer)).await)
    }

    async fn offer(&self, name: String, clients: &[Gateway], rate: f64, length: Duration) -> Run {
        let counts = Arc::new(Counts::default());
        let (begun, mut sent, mut late, mut calls) = (Instant::now(), 0_u64, 0, JoinSet::new());
        let mut clock = tokio::time::interval(Duration::from_millis(1));
        clock.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        loop {
            clock.tick().await;
            loop {
                let due = begun + Duration::from_secs_f64(number(sent) / rate);
                if due > Instant::now() || due - begun >= length {
                    break;
                }
                let place = usize::try_from(sent).unwrap_or_default() % clients.len();
                let (client, request, counts) = (clients[place].clone(), self.request(), Arc::clone(&counts));
                late += u64::from(due.elapsed() > LATE);
                calls.spawn(call(client, request, due, counts));
                sent += 1;
            }
            while calls.try_join_next().is_some() {}
            if begun.elapsed() >= length {
                break;
            }
        }
        while calls.join_next().await.is_some() {}
        let sorted = |latencies: &Mutex<Vec<f64>>| {
            let mut latencies = std::mem::take(&mut *latencies.lock().expect("no panic under the lock"));
            latencies.sort_by(f64::total_cmp);
            latencies
        };
        Run {
            name,
            length,
            admitted: sorted(&counts.admitted),
            refused: sorted(&counts.refused),
            failed: counts.failed.load(Ordering::Relaxed),
            late,
        }
    }

    fn memory_mib(&self) -> Outcome<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
        Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? / 1_024)
    }
}

async fn call(mut client: Gateway, request: SubmitBatchRequest, due: Instant, counts: Arc<Counts>) {
    let answer = client.submit_batch(request).await;
    let millis = due.elapsed().as_secs_f64() * 1_000.0;
    match answer {
        Ok(_) => counts.admitted.lock().expect("no panic under the lock").push(millis),
        Err(status) if reason(&status) == Some(Reason::Overloaded) => {
            counts.refused.lock().expect("no panic under the lock").push(millis);
        }
        Err(status) => {
            if counts.failed.fetch_add(1, Ordering::Relaxed) == 0 {
                eprintln!("a call failed: {status:?}");
            }
        }
    }
}

impl Run {
    fn goodput(&self) -> f64 {
        count(&self.admitted) / self.length.as_secs_f64()
    }

    fn calls(&self) -> f64 {
        count(&self.admitted) + count(&self.refused) + number(self.failed)
    }

    fn admitted_share(&self) -> f64 {
        count(&self.admitted) / self.calls()
    }

    fn late_share(&self) -> f64 {
        number(self.late) / self.calls()
    }

    fn p99(&self) -> f64 {
        quantile(&self.admitted, 0.99)
    }

    fn row(&self) -> String {
        let seconds = self.length.as_secs_f64();
        format!(
            "{:<13}  {:>9.0}  {:>9.0}  {:>9.0}  {:>6}  {:>6.1}  {:>6.1}  {:>14.1}  {:>6.2}",
            self.name,
            self.calls() / seconds,
            self.goodput(),
            count(&self.refused) / seconds,
            self.failed,
            quantile(&self.admitted, 0.5),
            self.p99(),
            quantile(&self.refused, 0.99),
            self.late_share() * 100.0
        )
    }
}

fn quantile(sorted: &[f64], share: f64) -> f64 {
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let place = (count(sorted) * share) as usize;
    sorted.get(place.min(sorted.len().saturating_sub(1))).copied().unwrap_or(f64::NAN)
}

fn count(list: &[f64]) -> f64 {
    number(list.len() as u64)
}

fn number(count: u64) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}
