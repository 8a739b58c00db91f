//! Why we end a stream that works: we stop, or it is so old that it shall find a newer Gateway.

use std::{pin::Pin, time::Duration};

use hashmesh::v1::Draining;
use hashmesh_runtime::{metrics::catalogue::gateway::ENDED_STREAMS, shutdown::Shutdown};
use tokio::time::{Sleep, sleep};

/// Streams end within this share of their age before and after it, so that those that began together do not end together.
const JITTER: f64 = 0.2;

/// When one stream shall end.
#[derive(Debug)]
pub(crate) struct Ending {
    shutdown: Shutdown,
    age: Option<Pin<Box<Sleep>>>,
}

impl Ending {
    /// For a stream that begins now.
    pub(crate) fn new(shutdown: &Shutdown, max_age: Option<Duration>) -> Self {
        let age = max_age.map(|age| Box::pin(sleep(jittered(age, rand::random()))));
        Self { shutdown: shutdown.clone(), age }
    }

    /// Waits until it shall, and gives what its client is told. May be dropped and asked again.
    pub(crate) async fn begun(&mut self) -> Draining {
        let reason = match &mut self.age {
            None => {
                self.shutdown.wait().await;
                STOPPING
            }
            Some(age) => tokio::select! {
                () = self.shutdown.wait() => STOPPING,
                () = age => OLD,
            },
        };
        ENDED_STREAMS.add(1, &[if reason == OLD { "age" } else { "draining" }]);
        Draining { reason: reason.to_owned() }
    }
}

const STOPPING: &str = "this gateway is stopping; ask again";
const OLD: &str = "this stream is old, and another gateway may have less to do; ask again";

/// `random` is from 0 to 1.
fn jittered(age: Duration, random: f64) -> Duration {
    age.mul_f64(1.0 - JITTER + 2.0 * JITTER * random)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3_600);

    #[test]
    fn streams_end_around_their_age() {
        assert_eq!(jittered(HOUR, 0.0), HOUR.mul_f64(0.8));
        assert_eq!(jittered(HOUR, 0.5), HOUR);
        assert_eq!(jittered(HOUR, 1.0), HOUR.mul_f64(1.2));
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_ends_when_it_is_old_or_the_gateway_stops_whatever_comes_first() {
        let shutdown = Shutdown::new();
        let began = tokio::time::Instant::now();
        assert_eq!(Ending::new(&shutdown, Some(HOUR)).begun().await.reason, OLD);
        assert!((HOUR.mul_f64(0.8)..HOUR.mul_f64(1.3)).contains(&began.elapsed()), "{:?}", began.elapsed());

        let mut ending = Ending::new(&shutdown, Some(HOUR));
        let mut ageless = Ending::new(&shutdown, None);
        assert!(tokio::time::timeout(HOUR / 2, ending.begun()).await.is_err());
        assert!(tokio::time::timeout(HOUR * 100, ageless.begun()).await.is_err());
        shutdown.begin();
        assert_eq!(Ending::new(&shutdown, Some(HOUR)).begun().await.reason, STOPPING);
        assert_eq!(ageless.begun().await.reason, STOPPING);
    }
}
