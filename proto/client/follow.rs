//! Reading a server's stream to its end, across outages.

use std::time::Duration;

use tokio::{sync::mpsc, task::JoinHandle, time::timeout};
use tonic::{Status, Streaming};

use super::{
    connection::{Client, KeyedChannel},
    error::ClientError,
};
use crate::{
    gateway::v1::gateway_service_client::GatewayServiceClient,
    limits::{PING_INTERVAL, PONG_TIMEOUT},
};

/// A stream on which nothing was heard for so long is dead: the server pings every [`PING_INTERVAL`].
pub(super) const SILENCE_LIMIT: Duration = Duration::from_secs(2 * PING_INTERVAL.as_secs() + PONG_TIMEOUT.as_secs());
/// Frames read ahead of the reader. Each is at most about 1 MiB.
const FRAMES_AHEAD: usize = 2;

/// What a frame means to its reader.
pub(super) enum Received<I> {
    /// Something for the reader.
    Item(I),
    /// The server is about to close the stream.
    Draining(String),
    /// Nothing but a sign of life.
    Life,
}

/// A stream that can be taken up where it broke off.
pub(super) trait Subscription: Send + 'static {
    type Frame: Send + 'static;
    type Item: Send + 'static;

    /// Asks for what follows the last frame received.
    fn open(
        &self,
        gateway: GatewayServiceClient<KeyedChannel>,
    ) -> impl Future<Output = Result<Streaming<Self::Frame>, Status>> + Send;

    /// Takes a frame in.
    fn receive(&mut self, frame: Self::Frame) -> Result<Received<Self::Item>, ClientError>;

    /// True if everything has arrived.
    fn complete(&self) -> bool;

    /// True if the end of a stream with OK is the end of all.
    fn ends_with_stream(&self) -> bool {
        self.complete()
    }
}

/// The items of a subscription, read by a task of its own that ends with this.
#[derive(Debug)]
pub(super) struct Follower<I> {
    items: mpsc::Receiver<I>,
    /// None once its end was reported.
    task: Option<JoinHandle<Result<(), ClientError>>>,
}

impl<I: Send + 'static> Follower<I> {
    pub(super) fn new<S: Subscription<Item = I>>(client: &Client, subscription: S) -> Self {
        let (sender, items) = mpsc::channel(FRAMES_AHEAD);
        let task = Some(tokio::spawn(follow(client.clone(), subscription, sender)));
        Self { items, task }
    }

    /// The next item; none after the last. May be cancelled without losing one.
    pub(super) async fn next(&mut self) -> Result<Option<I>, ClientError> {
        if let Some(item) = self.items.recv().await {
            return Ok(Some(item));
        }
        let Some(task) = &mut self.task else { return Ok(None) };
        let end = task.await;
        self.task = None;
        match end {
            Ok(end) => end.map(|()| None),
            Err(_) => Err(ClientError::Protocol("the stream's task was stopped".to_owned())),
        }
    }
}

impl<I> Drop for Follower<I> {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

async fn follow<S: Subscription>(
    client: Client,
    mut subscription: S,
    items: mpsc::Sender<S::Item>,
) -> Result<(), ClientError> {
    let server = client.config().server.clone();
    let mut outage = client.outage();
    loop {
        let opening = timeout(client.config().attempt_timeout, subscription.open(client.fresh_gateway()));
        let status = match opening.await {
            Err(_) => Status::unavailable("the stream was not opened in time"),
            Ok(Err(status)) => status,
            Ok(Ok(mut stream)) => loop {
                // Room first: a frame that was read is never lost, and a slow reader leaves the rest on the server.
                let Ok(room) = items.reserve().await else { return Ok(()) };
                let frame = match timeout(SILENCE_LIMIT, stream.message()).await {
                    Err(_) => break Status::unavailable("nothing was heard for too long"),
                    Ok(Err(status)) => break status,
                    Ok(Ok(None)) if subscription.ends_with_stream() => return Ok(()),
                    Ok(Ok(None)) => break Status::unavailable("the stream ended early"),
                    Ok(Ok(Some(frame))) => frame,
                };
                match subscription.receive(frame)? {
                    Received::Item(item) => {
                        outage.over();
                        room.send(item);
                    }
                    Received::Life => outage.over(),
                    Received::Draining(reason) => break Status::unavailable(reason),
                }
            },
        };
        if subscription.complete() {
            // Only the farewell is missing.
            return Ok(());
        }
        outage.wait(&server, status).await?;
    }
}
