//! The breaker in front of Postgres: who asks while it is away is answered at once, and once it is back it is used again.

use std::time::{Duration, Instant};

use hashmesh_database::{Database, DatabaseConfig, DatabaseError};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
};

use super::{cluster::Cluster, within};

/// What a caller waits for a connection; a refusal takes much less.
const WAIT: Duration = Duration::from_secs(1);
const AT_ONCE: Duration = Duration::from_millis(300);

async fn connect(config: DatabaseConfig) -> Database {
    let config = DatabaseConfig { pool_max: 2, pool_wait: WAIT, ..config };
    let database = Database::connect(config).await.unwrap();
    assert!(works(&database).await);
    assert_eq!(database.pool_stats().breaker, "closed");
    database
}

async fn works(database: &Database) -> bool {
    let Ok(connection) = database.pooled().await else { return false };
    connection.simple_query("SELECT 1").await.is_ok()
}

/// While Postgres is away: a few callers wait in vain, all others are told at once.
async fn opens(database: &Database) {
    let mut waited = 0;
    within(async {
        loop {
            let began = Instant::now();
            match database.pooled().await {
                Err(DatabaseError::CircuitOpen { .. }) => break,
                Err(error) => assert!(error.passes(), "{error:?}"),
                Ok(connection) => drop(connection),
            }
            waited += u32::from(began.elapsed() > WAIT / 2);
        }
    })
    .await;
    assert!(waited <= 3, "{waited} callers waited in vain");
    let stats = database.pool_stats();
    assert_eq!(stats.breaker, "open");
    assert!(stats.refused_by_breaker_total > 0);
    // Of many at once one may try.
    let refused = (0..100).map(|_| database.pooled());
    let began = Instant::now();
    let refused = within(refused_of(refused)).await;
    assert!(refused >= 99, "{refused}");
    assert!(began.elapsed() < WAIT + AT_ONCE * 3, "{:?}", began.elapsed());
}

/// How many of these were refused by the breaker, asked all at once.
async fn refused_of<'a, T: 'a>(calls: impl Iterator<Item = impl Future<Output = Result<T, DatabaseError>>>) -> usize {
    let mut calls: Vec<_> = calls.map(Box::pin).collect();
    let mut refused = 0;
    std::future::poll_fn(|context| {
        calls.retain_mut(|call| match call.as_mut().poll(context) {
            std::task::Poll::Ready(result) => {
                refused += usize::from(matches!(result, Err(DatabaseError::CircuitOpen { .. })));
                false
            }
            std::task::Poll::Pending => true,
        });
        if calls.is_empty() { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
    refused
}

async fn closes(database: &Database) {
    within(async { while !works(database).await {} }).await;
    assert_eq!(database.pool_stats().breaker, "closed");
    for _ in 0..20 {
        assert!(works(database).await);
    }
}

#[tokio::test]
async fn a_postgres_that_is_killed_is_left_alone_and_found_again() {
    let cluster = Cluster::start();
    let database = connect(cluster.config()).await;
    cluster.stop();
    opens(&database).await;
    cluster.restart();
    closes(&database).await;
}

#[tokio::test]
async fn a_postgres_that_is_stopped_is_left_alone_and_found_again() {
    let cluster = Cluster::start();
    let database = connect(cluster.config()).await;
    cluster.freeze();
    opens(&database).await;
    cluster.thaw();
    closes(&database).await;
}

#[tokio::test]
async fn a_postgres_behind_a_black_hole_is_left_alone_and_found_again() {
    let cluster = Cluster::start();
    let hole = Hole::before(cluster.port()).await;
    let config = DatabaseConfig { url: cluster.tcp_url_at(hole.port, "sslmode=disable"), ..cluster.config() };
    let database = connect(config).await;
    hole.swallows.send_replace(true);
    opens(&database).await;
    hole.swallows.send_replace(false);
    closes(&database).await;
}

#[tokio::test]
async fn a_pool_whose_connections_are_all_used_is_no_outage() {
    let cluster = Cluster::start();
    let database = connect(cluster.config()).await;
    let held = [database.pooled().await.unwrap(), database.pooled().await.unwrap()];
    for _ in 0..3 {
        let busy = database.pooled().await.unwrap_err();
        assert!(matches!(busy, DatabaseError::PoolTimeout { .. }), "{busy:?}");
    }
    drop(held);
    assert!(works(&database).await);
    assert_eq!(database.pool_stats().breaker, "closed");
}

/// A way to Postgres that swallows what is sent on it, without a word, whenever it is told to.
struct Hole {
    port: u16,
    swallows: watch::Sender<bool>,
}

impl Hole {
    async fn before(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let own = listener.local_addr().unwrap().port();
        let (swallows, told) = watch::channel(false);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(pass(client, port, told.clone()));
            }
        });
        Self { port: own, swallows }
    }
}

async fn pass(mut client: TcpStream, port: u16, mut told: watch::Receiver<bool>) {
    if *told.borrow() {
        // What came in this time is lost for good.
        return std::future::pending().await;
    }
    let mut server = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    tokio::select! {
        _ended = tokio::io::copy_bidirectional(&mut client, &mut server) => {}
        _swallows = told.wait_for(|swallows| *swallows) => {}
    }
    if *told.borrow() {
        std::future::pending::<()>().await;
    }
}
