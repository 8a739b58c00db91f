//! The task behind a [`Submitter`](super::Submitter): one stream after another.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, sleep_until, timeout},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use super::{
    connection::Client,
    error::{ClientError, transient},
    follow::SILENCE_LIMIT,
    outage::Outage,
    submit::{Progress, limits_of},
    traced::BatchTrace,
    window::{Contradiction, Window},
};
use crate::{
    error::from_message,
    gateway::v1::{
        Batch, OpenSubmission, SubmitTasksRequest, SubmitTasksResponse, batch::Tasks,
        submit_tasks_request::Frame as Request, submit_tasks_response::Frame as Response,
    },
    v1::{Opened, PackedTasks, Pong, Rejected, SubmissionState},
};

/// Frames between the driver and the transport: enough that neither waits for the other's turn.
const OUTBOUND_FRAMES: usize = 4;
/// How long a stream is given to end by itself after the last frame.
const FAREWELL: Duration = Duration::from_secs(2);

/// What the owner wants.
#[derive(Debug)]
pub(super) enum Command {
    /// Send this, and what caused it.
    Batch(Box<PackedTasks>, Option<BatchTrace>),
    /// Answer once everything is committed.
    Flush(oneshot::Sender<()>),
}

/// An open stream.
#[derive(Debug)]
pub(super) struct Stream {
    /// None once half-closed.
    outbound: Option<mpsc::Sender<SubmitTasksRequest>>,
    inbound: Streaming<SubmitTasksResponse>,
}

/// How a stream ended.
enum End {
    /// The owner is done.
    Left,
    /// To be opened again.
    Lost(Status),
    /// For good.
    Failed(ClientError),
}

/// What a stream waits for.
#[expect(clippy::large_enum_variant, reason = "lives on the stack for a moment; a box per frame would cost more")]
enum Event {
    Frame(Result<Option<SubmitTasksResponse>, Status>),
    Room { open: bool },
    Command(Option<Command>),
    Silence,
}

/// Opens a stream and waits for the server's first answer.
pub(super) async fn open_stream(client: &Client, open: &OpenSubmission) -> Result<(Stream, Opened), Status> {
    let (outbound, frames) = mpsc::channel(OUTBOUND_FRAMES);
    let first = SubmitTasksRequest { frame: Some(Request::Open(open.clone())) };
    outbound.try_send(first).map_err(|_| Status::internal("a new stream has no room"))?;
    let opening = async {
        let mut gateway = client.fresh_gateway();
        let mut inbound = gateway.submit_tasks(ReceiverStream::new(frames)).await?.into_inner();
        loop {
            let ended = || Status::unavailable("the stream ended before it was opened");
            match inbound.message().await?.ok_or_else(ended)?.frame {
                Some(Response::Opened(opened)) => return Ok((Stream { outbound: Some(outbound), inbound }, opened)),
                Some(Response::Draining(draining)) => return Err(Status::unavailable(draining.reason)),
                _ => {}
            }
        }
    };
    let limit = client.config().attempt_timeout;
    let silence = || Status::unavailable(format!("the stream was not opened within {} s", limit.as_secs()));
    timeout(limit, opening).await.map_err(|_| silence())?
}

#[derive(Debug)]
pub(super) struct Driver {
    client: Client,
    submission_id: String,
    window: Window,
    progress: Arc<Progress>,
    commands: mpsc::Receiver<Command>,
    outage: Outage,
    flush: Option<oneshot::Sender<()>>,
    /// The ping to answer.
    ping: Option<u64>,
}

impl Driver {
    pub(super) fn new(
        client: Client,
        submission_id: String,
        window: Window,
        progress: Arc<Progress>,
        commands: mpsc::Receiver<Command>,
    ) -> Self {
        let outage = client.outage();
        Self { client, submission_id, window, progress, commands, outage, flush: None, ping: None }
    }

    /// Runs one stream after another, until the owner leaves or it fails for good.
    pub(super) async fn run(mut self, mut stream: Stream) -> Result<(), ClientError> {
        loop {
            let status = match self.drive(&mut stream).await {
                End::Left => {
                    farewell(stream).await;
                    return Ok(());
                }
                End::Lost(status) => status,
                End::Failed(failure) => return Err(failure),
            };
            drop(stream);
            stream = self.reopen(status).await?;
        }
    }

    /// Opens the submission again and takes up where the server stands.
    async fn reopen(&mut self, mut status: Status) -> Result<Stream, ClientError> {
        let open = OpenSubmission {
            submission_id: self.submission_id.clone(),
            answers_pings: true,
            ..OpenSubmission::default()
        };
        let (stream, opened) = loop {
            self.outage.wait(&self.client.config().server, status).await?;
            match open_stream(&self.client, &open).await {
                Ok(opened) => break opened,
                Err(failure) => status = failure,
            }
        };
        self.progress.reconnects.fetch_add(1, Ordering::Relaxed);
        self.ping = None;
        let accepted = self.window.reopen(opened.next_sequence, limits_of(&opened));
        self.note_accepted(accepted)?;
        let state = opened.state();
        if !self.window.empty() && state != SubmissionState::Open {
            return Err(ClientError::Closed { submission_id: self.submission_id.clone(), state });
        }
        Ok(stream)
    }

    /// Keeps one stream going until it ends.
    async fn drive(&mut self, stream: &mut Stream) -> End {
        let mut silent_at = Instant::now() + SILENCE_LIMIT;
        loop {
            if self.window.empty()
                && let Some(flush) = self.flush.take()
            {
                // The owner may have stopped waiting, which is all the same.
                let _ = flush.send(());
            }
            let sendable = self.ping.is_some() || self.window.sendable();
            let takes = self.window.takes() && self.flush.is_none();
            let event = tokio::select! {
                frame = stream.inbound.message() => Event::Frame(frame),
                open = room(stream.outbound.as_ref()), if sendable && stream.outbound.is_some() => Event::Room { open },
                command = self.commands.recv(), if takes => Event::Command(command),
                () = sleep_until(silent_at) => Event::Silence,
            };
            match event {
                Event::Frame(Ok(Some(message))) => {
                    silent_at = Instant::now() + SILENCE_LIMIT;
                    if let Some(frame) = message.frame
                        && let Err(end) = self.receive(frame, stream)
                    {
                        return end;
                    }
                }
                Event::Frame(Ok(None)) => return End::Lost(Status::unavailable("the stream ended")),
                Event::Frame(Err(status)) if transient(&status) => return End::Lost(status),
                Event::Frame(Err(status)) => return End::Failed(ClientError::Refused(status)),
                Event::Room { open: true } => self.send_next(stream),
                // The transport takes no more; why is on its way.
                Event::Room { open: false } => stream.outbound = None,
                Event::Command(Some(Command::Batch(tasks, trace))) => {
                    self.window.push(*tasks, trace);
                }
                Event::Command(Some(Command::Flush(done))) => self.flush = Some(done),
                Event::Command(None) => return End::Left,
                Event::Silence => {
                    let text = format!("nothing was heard for {} s", SILENCE_LIMIT.as_secs());
                    return End::Lost(Status::unavailable(text));
                }
            }
        }
    }

    /// Sends what is next, for which there is room: an answer to a ping goes before a batch.
    fn send_next(&mut self, stream: &Stream) {
        let frame = if let Some(number) = self.ping.take() {
            Request::Pong(Pong { number })
        } else if let Some((sequence, tasks, traceparent)) = self.window.send() {
            Request::Batch(Batch { sequence, tasks: Some(Tasks::Columns(tasks)), traceparent })
        } else {
            return;
        };
        if let Some(outbound) = &stream.outbound {
            // Fails only if the transport is gone; then the batch is sent again on the next stream.
            let _ = outbound.try_send(SubmitTasksRequest { frame: Some(frame) });
        }
    }

    fn receive(&mut self, frame: Response, stream: &mut Stream) -> Result<(), End> {
        match frame {
            Response::Accepted(accepted) => {
                self.outage.over();
                let accepted = self.window.accept(accepted.through_sequence, accepted.window_bytes);
                self.note_accepted(accepted).map_err(End::Failed)
            }
            Response::Rejected(rejected) => Err(rejection(&rejected)),
            Response::Ping(ping) => {
                // A stream that lives until its first ping has ended the outage, though it may have nothing to do.
                self.outage.over();
                self.ping = Some(ping.number);
                Ok(())
            }
            Response::Draining(draining) => {
                tracing::debug!(reason = draining.reason, "the server is about to close the stream");
                // Half-closed, the stream ends once everything under way is answered.
                stream.outbound = None;
                Ok(())
            }
            Response::Completed(completed) => {
                let state = completed.summary.map(|summary| summary.state()).unwrap_or_default();
                if self.window.empty() {
                    return Ok(());
                }
                Err(End::Failed(ClientError::Closed { submission_id: self.submission_id.clone(), state }))
            }
            // Outcomes were not asked for.
            Response::Opened(_) | Response::Results(_) => Ok(()),
        }
    }

    fn note_accepted(&self, tasks: Result<u64, Contradiction>) -> Result<(), ClientError> {
        let tasks = tasks.map_err(|contradiction| ClientError::Protocol(contradiction.to_string()))?;
        self.progress.accepted_tasks.fetch_add(tasks, Ordering::Relaxed);
        Ok(())
    }
}

/// Waits until there is room for a frame. False if the transport takes no more.
async fn room(outbound: Option<&mpsc::Sender<SubmitTasksRequest>>) -> bool {
    match outbound {
        // The driver is the only sender, so the room stays when the permit is given back.
        Some(outbound) => outbound.reserve().await.is_ok(),
        None => false,
    }
}

/// A batch that could not be stored just now is sent again on a new stream; whatever was sent behind it was refused too.
fn rejection(rejected: &Rejected) -> End {
    let missing = || Status::internal("refused without a reason");
    let status = rejected.status.as_ref().map_or_else(missing, from_message);
    if transient(&status) {
        return End::Lost(status);
    }
    End::Failed(ClientError::Rejected { sequence: rejected.sequence, status })
}

/// Half-closes and reads to the end, so that the server sees a client that left and not one that broke off.
async fn farewell(mut stream: Stream) {
    stream.outbound = None;
    let _ = timeout(FAREWELL, async { while let Ok(Some(_)) = stream.inbound.message().await {} }).await;
}
