//! The profiles of unary calls.

use std::time::Duration;

use bytes::Bytes;
use hashmesh::{
    gateway::v1::{
        ComputeDigestRequest, ComputeDigestResponse, CreateSubmissionRequest, CreateSubmissionResponse,
        GetSubmissionRequest, GetSubmissionResponse, SubmitBatchRequest, SubmitBatchResponse,
        submit_batch_request::Tasks,
    },
    v1::{Algorithm, Task, TaskRows, task::Source},
};

use crate::{
    Outcome, Verdict,
    grpc::{Connection, framed},
    measure::{MOST_LATE, MOST_P99_MILLIS, Seen},
    pace::{Caller, Stage},
    settings::Settings,
};

/// What the weakest mesh must do, of three Gateways.
const FLOOR: f64 = 300.0;
const SERVICE: &str = "/hashmesh.gateway.v1.GatewayService";

/// What is asked, again and again.
#[derive(Debug)]
pub(crate) enum Request {
    /// The digest of 64 bytes, others each time: Gateway and Hash.
    Digest,
    /// A submission's state: Gateway, Queue, Postgres.
    Get(Bytes),
    /// A submission of one task, and its outcome: Gateway, Queue, Postgres, Worker.
    Submit,
}

impl Request {
    pub(crate) async fn new(name: &str, connection: &Connection) -> Outcome<Self> {
        Ok(match name {
            "digest" => Self::Digest,
            "submit" => Self::Submit,
            "get" => {
                let request = framed(&CreateSubmissionRequest::default());
                let created: CreateSubmissionResponse =
                    connection.call(&format!("{SERVICE}/CreateSubmission"), request).await?;
                let submission_id = created.opened.unwrap_or_default().submission_id;
                Self::Get(framed(&GetSubmissionRequest { submission_id }))
            }
            other => return Err(format!("there is no call {other:?}").into()),
        })
    }

    pub(crate) async fn send(&self, connection: &Connection, number: usize) -> Result<(), String> {
        match self {
            Self::Digest => {
                let request = ComputeDigestRequest {
                    data: unequal(number),
                    algorithms: vec![Algorithm::Sha256.into()],
                    ..Default::default()
                };
                let path = "/hashmesh.gateway.v1.GatewayService/ComputeDigest";
                let answer: ComputeDigestResponse = connection.call(path, framed(&request)).await?;
                if answer.hashed_bytes == 64 { Ok(()) } else { Err("a wrong answer".to_owned()) }
            }
            Self::Get(request) => {
                let path = "/hashmesh.gateway.v1.GatewayService/GetSubmission";
                let _answer: GetSubmissionResponse = connection.call(path, request.clone()).await?;
                Ok(())
            }
            Self::Submit => {
                let source = Some(Source::Data(unequal(number)));
                let rows = TaskRows { tasks: vec![Task { name: "a".to_owned(), source, ..Default::default() }] };
                let request = SubmitBatchRequest { tasks: Some(Tasks::Rows(rows)), wait: true, ..Default::default() };
                let path = "/hashmesh.gateway.v1.GatewayService/SubmitBatch";
                let answer: SubmitBatchResponse = connection.call(path, framed(&request)).await?;
                if answer.outcomes.len() == 1 { Ok(()) } else { Err("a wrong answer".to_owned()) }
            }
        }
    }
}

fn unequal(number: usize) -> Bytes {
    (number as u64).to_be_bytes().repeat(8).into()
}

/// Stages one behind the other, printed each.
async fn stages(settings: &Settings, caller: &Caller, stages: &[(&str, Stage)]) -> Outcome<Vec<Seen>> {
    let used = settings.processes.used()?;
    let plan: Vec<Stage> = stages.iter().map(|(_, stage)| *stage).collect();
    let calls = caller.offer(&plan).await;
    let mut begun = Duration::ZERO;
    let mut all = Vec::new();
    for (name, stage) in stages {
        let seen = Seen::of(&calls, begun, begun + stage.length);
        seen.print(name);
        begun += stage.length;
        all.push(seen);
    }
    println!("  CPU, % of a core: {}", settings.processes.shares(&used)?);
    Ok(all)
}

/// One stage; what says nothing of the mesh, because calls were not sent when they were due, is done again, twice at most.
async fn stage(settings: &Settings, caller: &Caller, name: &str, rate: f64, length: Duration) -> Outcome<Seen> {
    let mut runs = 0;
    loop {
        let seen = stages(settings, caller, &[(name, Stage { rate, length })]).await?.remove(0);
        runs += 1;
        if seen.late_share() <= MOST_LATE || runs == 3 {
            return Ok(seen);
        }
        println!("  void: too many calls were sent late; again");
    }
}

fn seconds(settings: &Settings, usual: u64) -> Outcome<Duration> {
    settings.number("seconds", usual).map(Duration::from_secs)
}

pub(crate) async fn smoke(settings: &Settings, verdict: &mut Verdict) -> Outcome<()> {
    let caller = Caller::new(settings).await?;
    Seen::print_header();
    let seen = stage(settings, &caller, "500/min", 500.0 / 60.0, seconds(settings, 30)?).await?;
    verdict.expect(seen.failed() == 0, "no call fails");
    let p99 = seen.quantile(0.99);
    verdict.expect(p99 < MOST_P99_MILLIS, &format!("p99 {p99:.1} ms, wanted less than {MOST_P99_MILLIS}"));
    Ok(())
}

pub(crate) async fn load(settings: &Settings, verdict: &mut Verdict) -> Outcome<()> {
    let (caller, length) = (Caller::new(settings).await?, seconds(settings, 10)?);
    let aim = settings.number("rate", 10_000)? as f64;
    warm(&caller, aim / 20.0).await;
    Seen::print_header();
    let mut rates: Vec<f64> = Vec::new();
    for share in [0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0] {
        rates.push(aim * share);
        if !stage(settings, &caller, "step", aim * share, length).await?.sustained() {
            rates.pop();
            break;
        }
    }
    // Three times as long, for what a short time hides.
    let mut best = 0.0;
    while let Some(rate) = rates.pop() {
        if stage(settings, &caller, "for longer", rate, length * 3).await?.sustained() {
            best = rate;
            break;
        }
    }
    println!("the aim of {aim:.0} calls/s is {}", if best >= aim { "reached" } else { "not reached" });
    verdict.expect(best >= FLOOR, &format!("{best:.0} calls/s are sustained, wanted {FLOOR} at least"));
    Ok(())
}

/// So that no connection is new to anyone.
async fn warm(caller: &Caller, rate: f64) {
    caller.offer(&[Stage { rate, length: Duration::from_secs(2) }]).await;
}

pub(crate) async fn stress(settings: &Settings, verdict: &mut Verdict) -> Outcome<()> {
    let (caller, length) = (Caller::new(settings).await?, seconds(settings, 5)?);
    let first = settings.number("rate", 500)? as f64;
    warm(&caller, first).await;
    Seen::print_header();
    let before = stage(settings, &caller, "before", first, length).await?;
    let (mut knee, mut rate) = (first, first * 1.25);
    while stage(settings, &caller, "climbing", rate, length).await?.sustained() {
        (knee, rate) = (rate, rate * 1.25);
    }
    println!("the knee: {knee:.0} calls/s are sustained, {rate:.0} are not");
    // Far beyond it: what is too much is refused or late, and does no lasting harm.
    stage(settings, &caller, "twice the knee", knee * 2.0, length).await?;
    let after = stage(settings, &caller, "behind it", first, length).await?;
    println!("p99 {:.1} ms before, {:.1} ms behind it", before.quantile(0.99), after.quantile(0.99));
    verdict.expect(after.sustained(), &format!("{first:.0} calls/s are sustained behind it"));
    Ok(())
}

pub(crate) async fn soak(settings: &Settings, verdict: &mut Verdict) -> Outcome<()> {
    let (caller, length) = (Caller::new(settings).await?, seconds(settings, 120)?);
    let rate = settings.number("rate", 1_000)? as f64;
    Seen::print_header();
    // Until what is allocated once is allocated.
    let warm = (length / 6).max(Duration::from_secs(10));
    stage(settings, &caller, "first", rate, warm).await?;
    let before = settings.processes.memory_kib()?;
    let seen = stage(settings, &caller, "then", rate, length).await?;
    verdict.expect(seen.sustained(), &format!("{rate:.0} calls/s are sustained for {} s", length.as_secs()));
    for ((name, before), (_, after)) in before.iter().zip(settings.processes.memory_kib()?) {
        let most = before + before / 5 + 16 * 1_024;
        let (from, to) = (before / 1_024, after / 1_024);
        verdict.expect(after <= most, &format!("{name}: {from} MiB of memory, then {to}, {} at most", most / 1_024));
    }
    Ok(())
}

pub(crate) async fn spike(settings: &Settings, verdict: &mut Verdict) -> Outcome<()> {
    let caller = Caller::new(settings).await?;
    let (rate, length) = (settings.number("rate", 500)? as f64, seconds(settings, 5)?);
    let (calm, after) = (Stage { rate, length: length * 2 }, Stage { rate, length: length * 4 });
    let high = Stage { rate: rate * 10.0, length };
    warm(&caller, rate).await;
    Seen::print_header();
    let used = settings.processes.used()?;
    let calls = caller.offer(&[calm, high, after]).await;
    let (begun, over) = (calm.length, calm.length + length);
    let end = over + after.length;
    let before = Seen::of(&calls, Duration::ZERO, begun);
    before.print("before");
    Seen::of(&calls, begun, over).print("10 times");
    Seen::of(&calls, over, end).print("after");
    println!("  CPU, % of a core: {}", settings.processes.shares(&used)?);
    // The first second behind it whose quarters are all as before.
    let usual = (before.quantile(0.99) * 2.0).max(20.0);
    let quarter = Duration::from_millis(250);
    let calm_at = |from: Duration| {
        let seen = Seen::of(&calls, from, from + quarter);
        seen.failed() == 0 && seen.quantile(0.95) <= usual
    };
    let mut recovered = over;
    while recovered + quarter * 4 < end && !(0..4).all(|number| calm_at(recovered + quarter * number)) {
        recovered += quarter;
    }
    let recovery = (recovered - over).as_secs_f64();
    verdict.expect(recovery <= 10.0, &format!("{recovery:.2} s after the spike calls are answered as before it"));
    Ok(())
}
