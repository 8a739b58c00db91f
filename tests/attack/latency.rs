//! What an honest client's latency is beside each attack: `make bench-attack`.

use std::time::{Duration, Instant};

use super::{Attack, Attacked, honest};
use crate::support::{Gateway, heavy};

/// How long calls are measured at a stretch.
const WINDOW: Duration = Duration::from_secs(1);
/// Windows with and without attackers, by turns: what the machine does to both cancels out.
const ROUNDS: usize = 7;
/// How much longer a p99 may be.
const MOST: f64 = 1.5;
/// Below which a difference is the machine's scheduler and nothing else.
const NOISE: Duration = Duration::from_millis(5);

/// The p99 of a window.
async fn window(gateway: &mut Gateway) -> Duration {
    let began = Instant::now();
    let mut times = Vec::new();
    while began.elapsed() < WINDOW {
        times.push(honest(gateway).await);
    }
    times.sort_unstable();
    times[times.len() * 99 / 100]
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement that wants the machine for itself: make bench-attack"]
async fn promise_10_no_attack_makes_an_honest_client_wait_half_as_long_again() {
    let _turn = heavy::turn().await;
    let attacked = Attacked::start("attacked-latency").await;
    let mut gateway = attacked.mesh.connect().await;
    window(&mut gateway).await;
    let mut slow = Vec::new();
    for attack in Attack::ALL {
        let (mut quiet, mut loud) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            quiet.push(window(&mut gateway).await);
            let attackers = attacked.attack(attack);
            loud.push(window(&mut gateway).await);
            assert!(attackers.tally.bursts() > 0, "{attack:?} hit nothing");
        }
        let (quiet, loud) = (median(quiet), median(loud));
        let ratio = loud.as_secs_f64() / quiet.as_secs_f64();
        let millis = |time: Duration| time.as_secs_f64() * 1_000.0;
        println!("{attack:<14?} p99 {:6.2} ms, alone {:6.2} ms: {ratio:.2}", millis(loud), millis(quiet));
        if ratio > MOST && loud > quiet + NOISE {
            slow.push(attack);
        }
    }
    assert!(slow.is_empty(), "more than {MOST} times as long beside {slow:?}");
}
