//! Peers that attack with bare frames, and what others notice of them.

mod attacks;
mod bomb;
mod frames;
mod latency;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use hashmesh::{gateway::v1::ComputeDigestRequest, v1::SubmissionState};
use tokio_util::task::AbortOnDropHandle;

use self::attacks::{Attack, Tally, Target, UNREAD};
use crate::support::{
    Gateway, Mesh, MeshOptions, heavy,
    raw::{inline, rows},
    wait::{PATIENCE, until},
};

const MIB: u64 = 1024 * 1024;
/// Of each kind at a time.
const ATTACKERS: usize = 2;
/// What the Gateway may keep more than before: of two connections each one's unread window (16 MiB, `ServerLimits`), the
/// answers that nobody reads (1 MiB each, `ListResults`), and what an allocator keeps of what was given back.
const MOST_GROWN: u64 = (2 * 16 + ATTACKERS as u64 * UNREAD as u64 + 96) * MIB;
/// How long an honest call may take at worst on a machine that others use too.
const AT_WORST: Duration = Duration::from_secs(5);

/// A mesh that is attacked.
struct Attacked {
    mesh: Mesh,
    target: Target,
}

/// Attackers, until dropped.
struct Attackers {
    tally: Arc<Tally>,
    _tasks: Vec<AbortOnDropHandle<()>>,
}

impl Attacked {
    async fn start(name: &str) -> Self {
        let mesh = Mesh::start(name, MeshOptions::default()).await;
        let mut gateway = mesh.connect().await;
        let (mut stream, opened) = gateway.open_new().await;
        // Few rows, so that it is the bytes of a page that cost something.
        let name = "n".repeat(4_000);
        let tasks = (0..250).map(|task| inline(&format!("{name}{task}"), "x")).collect();
        stream.batch(0, rows(tasks)).await;
        stream.seal(1).await;
        stream.finish();
        stream.end().await.1.expect("it ends well");
        gateway.reaches(&opened.submission_id, SubmissionState::Completed).await;
        let target = Target { address: mesh.gateway.address.clone(), submission_id: opened.submission_id };
        Self { mesh, target }
    }

    fn attack(&self, attack: Attack) -> Attackers {
        let tally = Arc::new(Tally::default());
        let attacker = |_| {
            let (target, tally) = (self.target.clone(), Arc::clone(&tally));
            AbortOnDropHandle::new(tokio::spawn(async move { attack.run(target, &tally).await }))
        };
        let tasks = (0..ATTACKERS).map(attacker).collect();
        Attackers { tally, _tasks: tasks }
    }
}

/// What an honest client asks for, and how long it takes.
async fn honest(gateway: &mut Gateway) -> Duration {
    let began = Instant::now();
    let request = ComputeDigestRequest { data: "honest".into(), ..ComputeDigestRequest::default() };
    let answer = tokio::time::timeout(AT_WORST, gateway.compute_digest(request)).await.expect("an answer in time");
    assert_eq!(answer.expect("an answer").into_inner().hashed_bytes, 6);
    began.elapsed()
}

fn attack_time() -> Duration {
    Duration::from_millis(if heavy::long() { 7_000 } else { 800 })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn promise_8_attacks_by_frames_fail_nobody_elses_call_and_cost_bounded_memory() {
    let _turn = heavy::turn().await;
    let attacked = Attacked::start("attacked").await;
    let mut gateway = attacked.mesh.connect().await;
    honest(&mut gateway).await;
    let process = &attacked.mesh.gateway.process;
    let before = process.rss_bytes();
    for attack in Attack::ALL {
        let attackers = attacked.attack(attack);
        let began = Instant::now();
        let hit = || {
            let tally = &attackers.tally;
            let wanted = if attack == Attack::NeverReads { ATTACKERS * UNREAD } else { 2 };
            tally.bursts() >= wanted as u64 && (!attack.is_cut_off() || tally.cut_off() > 3)
        };
        let mut calls = 0;
        while began.elapsed() < attack_time() || (!hit() && began.elapsed() < PATIENCE) {
            honest(&mut gateway).await;
            // One who comes only now gets in too.
            if calls % 20 == 0 {
                honest(&mut attacked.mesh.connect().await).await;
            }
            calls += 1;
        }
        assert!(hit(), "{attack:?} hit nothing: {:?}", attackers.tally);
        let grown = process.rss_bytes().saturating_sub(before);
        assert!(grown < MOST_GROWN, "{attack:?}: the Gateway grew by {} MiB", grown / MIB);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn promise_12_a_drain_under_attack_ends_in_time_with_exit_code_0() {
    let _turn = heavy::turn().await;
    let mut attacked = Attacked::start("attacked-drain").await;
    let attackers: Vec<Attackers> = Attack::ALL.into_iter().map(|attack| attacked.attack(attack)).collect();
    until("every attack to hit", PATIENCE, async || {
        attackers.iter().all(|attackers| attackers.tally.bursts() >= 2).then_some(())
    })
    .await;
    let began = Instant::now();
    let status = attacked.mesh.gateway.terminate().await;
    assert!(status.success(), "it ended with {status}");
    // The grace, what a hard stop takes, and some for the machine.
    assert!(began.elapsed() < Duration::from_secs(10 + 1 + 5), "it took {:?}", began.elapsed());
}
