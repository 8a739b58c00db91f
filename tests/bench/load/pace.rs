//! Calls at a given rate, whatever becomes of those before.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use tokio::task::JoinSet;

use crate::{
    Outcome,
    grpc::Connection,
    measure::{Called, LATE},
    settings::Settings,
    unary::Request,
};

/// More are not under way at once: what comes above counts as an error.
const MOST_UNDER_WAY: usize = 50_000;
const NOT_SENT: &str = "not sent: 50,000 are under way";
/// Nobody waits for longer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Who calls.
#[derive(Debug)]
pub(crate) struct Caller {
    connections: Vec<Connection>,
    request: Arc<Request>,
}

/// A rate, and for how long.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stage {
    pub(crate) rate: f64,
    pub(crate) length: Duration,
}

impl Caller {
    pub(crate) async fn new(settings: &Settings) -> Outcome<Self> {
        let mut connections = Vec::new();
        for _ in 0..settings.number("callers", 32)? {
            connections.push(Connection::open(settings.servers[0], None).await?);
        }
        let request = Arc::new(Request::new(settings.text("call", "digest"), &connections[0]).await?);
        Ok(Self { connections, request })
    }

    /// The stages, one behind the other without a pause.
    pub(crate) async fn offer(&self, stages: &[Stage]) -> Vec<Called> {
        let (seen, begun) = (Arc::new(Mutex::new(Vec::new())), Instant::now());
        let mut calls = JoinSet::new();
        let mut clock = tokio::time::interval(Duration::from_millis(1));
        clock.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        let (mut number, mut stage_begun) = (0_usize, Duration::ZERO);
        for stage in stages {
            let mut sent = 0_u32;
            loop {
                let due = stage_begun + Duration::from_secs_f64(f64::from(sent) / stage.rate);
                if due >= stage_begun + stage.length {
                    break;
                }
                while begun.elapsed() < due {
                    clock.tick().await;
                    while calls.try_join_next().is_some() {}
                }
                // Who is behind schedule lets those run that were sent, too.
                if number.is_multiple_of(64) {
                    tokio::task::yield_now().await;
                }
                let mut called = Called { due, took: Duration::ZERO, late: begun.elapsed() > due + LATE, error: None };
                if calls.len() >= MOST_UNDER_WAY {
                    called.error = Some(NOT_SENT.into());
                    seen.lock().expect("no panic under the lock").push(called);
                } else {
                    let connection = self.connections[number % self.connections.len()].clone();
                    let (request, seen) = (Arc::clone(&self.request), Arc::clone(&seen));
                    calls.spawn(async move {
                        let answer = tokio::time::timeout(PATIENCE, request.send(&connection, number)).await;
                        called.took = begun.elapsed().saturating_sub(due);
                        called.error = answer.unwrap_or(Err("no answer in 10 s".to_owned())).err().map(Into::into);
                        seen.lock().expect("no panic under the lock").push(called);
                    });
                }
                (sent, number) = (sent + 1, number + 1);
            }
            stage_begun += stage.length;
        }
        while calls.join_next().await.is_some() {}
        std::mem::take(&mut *seen.lock().expect("no panic under the lock"))
    }
}
