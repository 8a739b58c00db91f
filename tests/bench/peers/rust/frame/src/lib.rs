//! What the Rust drivers share: `DRIVER setup|e2e|latency` with DATABASE_URL, N and CFG (`name=number,…`) in the environment.
//! The last line that a driver prints is a JSON object.

use std::{
    env,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// A task: its number and its input, 64 hexadecimal digits.
#[derive(Debug, Serialize, Deserialize)]
pub struct Task {
    pub i: i64,
    pub p: String,
}

impl Task {
    pub fn new(i: i64) -> Self {
        Self { i, p: hex::encode(Sha256::digest(format!("p{i}"))) }
    }

    pub fn digest(&self) -> Vec<u8> {
        Sha256::digest(self.p.as_bytes()).to_vec()
    }
}

pub fn phase() -> String {
    env::args().nth(1).expect("usage: DRIVER setup|e2e|latency")
}

pub fn variable(name: &str) -> String {
    env::var(name).unwrap_or_else(|_| panic!("{name} is not set"))
}

/// A setting from CFG.
pub fn setting(name: &str, default: usize) -> usize {
    let all = env::var("CFG").unwrap_or_default();
    let found = all.split(',').filter_map(|pair| pair.split_once('=')).find(|(key, _)| *key == name);
    found.map_or(default, |(_, value)| value.parse().expect("settings are numbers"))
}

/// How a driver enqueues the tasks of a range, and waits until so many results are committed in all.
pub trait Peer: Clone + Send + Sync + 'static {
    fn insert(&self, from: i64, to: i64) -> impl Future<Output = ()> + Send;
    fn wait(&self, results: i64, phase: &str) -> impl Future<Output = ()> + Send;
}

/// Runs the phase that was asked for, with the workers running already.
pub async fn measure(peer: &impl Peer, phase: &str) {
    let n: i64 = variable("N").parse().expect("N is a number");
    // The workers are to wait for work.
    tokio::time::sleep(Duration::from_secs(1)).await;
    if phase == "e2e" {
        let begun = Instant::now();
        enqueue(peer, n).await;
        peer.wait(n, phase).await;
        println!("{}", serde_json::json!({ "seconds": begun.elapsed().as_secs_f64() }));
        return;
    }
    let mut milliseconds = Vec::new();
    for i in 0..n {
        let begun = Instant::now();
        peer.insert(i, i + 1).await;
        peer.wait(i + 1, phase).await;
        milliseconds.push(begun.elapsed().as_secs_f64() * 1e3);
    }
    println!("{}", serde_json::json!({ "milliseconds": milliseconds }));
}

async fn enqueue(peer: &impl Peer, n: i64) {
    let size = setting("batch", 1000) as i64;
    let next = Arc::new(AtomicI64::new(0));
    let producers: Vec<_> = (0..setting("producers", 1))
        .map(|_| {
            let (peer, next) = (peer.clone(), next.clone());
            tokio::spawn(async move {
                loop {
                    let from = next.fetch_add(size, SeqCst);
                    if from >= n {
                        return;
                    }
                    peer.insert(from, (from + size).min(n)).await;
                }
            })
        })
        .collect();
    for producer in producers {
        producer.await.unwrap();
    }
}
