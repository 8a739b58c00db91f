//! Very many connections: a process of ours for each Envoy, for a process has only so many file descriptors.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr},
    process::Stdio,
    time::{Duration, Instant},
};

use bytes::Bytes;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines},
    process::{Child, ChildStdout, Command},
    task::JoinSet,
};

use crate::{
    Outcome, Verdict,
    grpc::Connection,
    measure::print_errors,
    processes::{Processes, kernel_kib},
    settings::Settings,
};

/// Under way at once, of one process.
const AT_ONCE: usize = 64;
/// What is not done by then is not waited for.
const PATIENCE: Duration = Duration::from_secs(600);

/// A process of ours, and what it prints.
struct Holder {
    process: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

pub(crate) async fn run(settings: &Settings, verdict: &mut Verdict) -> Outcome<()> {
    let wanted = settings.number("connections", 60_000)?;
    // What Envoy takes at most, if that is to be seen.
    let taken = settings.number("taken", wanted)?.min(wanted);
    let servers = settings.servers.len() as u64;
    let (before, kernel, begun) = (settings.processes.memory_kib()?, kernel_kib()?, Instant::now());
    let mut holders = Vec::new();
    for (place, server) in (0..).zip(&settings.servers) {
        let count = (place + 1) * wanted / servers - place * wanted / servers;
        let mut process = Command::new(std::env::current_exe()?)
            .args(["hold", &server.to_string(), &format!("load={}", std::process::id())])
            .args([format!("connections={count}"), format!("first={}", 2 + place * 16)])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let lines = BufReader::new(process.stdout.take().ok_or("no output")?).lines();
        holders.push(Holder { process, lines });
    }
    let opened = told(&mut holders).await?;
    println!("{opened} connections open in {:.1} s", begun.elapsed().as_secs_f64());
    let pids: Vec<String> =
        holders.iter().filter_map(|holder| Some(format!("load={}", holder.process.id()?))).collect();
    let ours = Processes::read(&pids.join(","))?.memory_kib()?;
    let each = |kib: u64| kib as f64 / opened.max(1) as f64;
    println!("{:<10}  MiB before  with them  KiB/connection", "");
    for ((name, before), (_, with)) in before.iter().zip(settings.processes.memory_kib()?) {
        let share = each(with.saturating_sub(*before)) * if name.starts_with("envoy") { servers as f64 } else { 1.0 };
        println!("{name:<10}  {:>10}  {:>9}  {share:>14.1}", before / 1_024, with / 1_024);
    }
    println!("load, all   {:>10}  {:>9}", "", ours.iter().map(|(_, kib)| kib).sum::<u64>() / 1_024);
    println!("the kernel, both ends: {:.1} KiB/connection", each(kernel_kib()?.saturating_sub(kernel)));

    let begun = Instant::now();
    for holder in &mut holders {
        let input = holder.process.stdin.as_mut().ok_or("no input")?;
        input.write_all(b"again\n").await?;
    }
    let answered = told(&mut holders).await?;
    println!("{answered} of them answered again in {:.1} s", begun.elapsed().as_secs_f64());
    for mut holder in holders {
        drop(holder.process.stdin.take());
        holder.process.wait().await?;
    }
    verdict.expect(opened == taken, &format!("{opened} of {wanted} connections open at once, wanted {taken}"));
    verdict.expect(answered == opened, &format!("{answered} answered again while all were open"));
    Ok(())
}

/// The sum of what each says next.
async fn told(holders: &mut [Holder]) -> Outcome<u64> {
    let mut sum = 0;
    for holder in holders {
        loop {
            let line = tokio::time::timeout(PATIENCE, holder.lines.next_line()).await??.ok_or("it ended")?;
            match line.strip_prefix("count ") {
                Some(count) => break sum += count.parse::<u64>()?,
                None => println!("{line}"),
            }
        }
    }
    Ok(sum)
}

/// Holds connections to one server until the input ends; calls on each when it is told to.
pub(crate) async fn hold(settings: &Settings) -> Outcome<()> {
    let (wanted, server) = (settings.number("connections", 100)?, settings.servers[0]);
    let first = u8::try_from(settings.number("first", 2)?)?;
    let (mut opening, mut open, mut errors) = (JoinSet::new(), Vec::new(), BTreeMap::<String, usize>::new());
    for number in 0..wanted {
        if opening.len() >= AT_ONCE {
            note(opening.join_next().await, &mut open, &mut errors)?;
        }
        // 16 addresses, so that none runs out of ports.
        let source = IpAddr::V4(Ipv4Addr::new(127, 0, 0, first + u8::try_from(number % 16)?));
        opening.spawn(async move {
            let connection = Connection::open(server, Some(source)).await.map_err(|error| error.to_string())?;
            check(&connection).await.map(|()| connection)
        });
    }
    while let Some(ended) = opening.join_next().await {
        note(Some(ended), &mut open, &mut errors)?;
    }
    print_errors(&errors);
    println!("count {}", open.len());
    let asked = || std::io::stdin().read_line(&mut String::new());
    while tokio::task::spawn_blocking(asked).await?? > 0 {
        let (mut answered, mut errors) = (0, BTreeMap::<String, usize>::new());
        for some in open.chunks(AT_ONCE) {
            for answer in futures::future::join_all(some.iter().map(check)).await {
                match answer {
                    Ok(()) => answered += 1,
                    Err(error) => *errors.entry(error).or_default() += 1,
                }
            }
        }
        print_errors(&errors);
        println!("count {answered}");
    }
    Ok(())
}

/// `grpc.health.v1.Health/Check` of the Gateway, whose answer is not empty.
async fn check(connection: &Connection) -> Result<(), String> {
    /// `HealthCheckResponse`: 1 is SERVING.
    #[derive(Clone, PartialEq, prost::Message)]
    struct Answer {
        #[prost(int32, tag = "1")]
        status: i32,
    }
    let asked = async { connection.call::<Answer>("/grpc.health.v1.Health/Check", Bytes::from_static(&[0; 5])).await };
    let answer = tokio::time::timeout(Duration::from_secs(30), asked).await.map_err(|_| "no answer in 30 s")??;
    if answer.status == 1 { Ok(()) } else { Err("not serving".to_owned()) }
}

type Opened = Result<Result<Connection, String>, tokio::task::JoinError>;

fn note(ended: Option<Opened>, open: &mut Vec<Connection>, errors: &mut BTreeMap<String, usize>) -> Outcome<()> {
    match ended.ok_or("nothing is under way")?? {
        Ok(connection) => open.push(connection),
        Err(error) => *errors.entry(error).or_default() += 1,
    }
    Ok(())
}
