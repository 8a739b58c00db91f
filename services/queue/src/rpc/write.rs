//! The stream on which a submission is written: batches in, acknowledgements and, if asked for, outcomes out.
//!
//! While a batch waits for memory nothing more is read, and acknowledgements go on.

use std::{future::Future, pin::Pin, sync::Arc};

use hashmesh::{
    error,
    queue::v1::{
        OpenSubmission, ValidatedBatch, WriteSubmissionRequest, WriteSubmissionResponse,
        write_submission_request::Frame as In, write_submission_response::Frame as Out,
    },
    v1::{Accepted, Completed, Draining, Rejected, Seal},
};
use hashmesh_runtime::trace::{self, TraceContext};
use tokio::{sync::mpsc, task::JoinHandle};
use tokio_stream::{StreamExt as _, wrappers::ReceiverStream};
use tonic::{Status, Streaming};

use super::{
    Frames, MOVES, OUTGOING, STOPS, Shared, convert,
    resolve::Found,
    results::{Reader, ResultsFrame},
};
use crate::{
    engine::{Admission, Admitted, Busy, Command, IncomingBatch, Tail, Taken},
    error::QueueError,
    measures::StreamKind,
};

type Outgoing = mpsc::Sender<Result<WriteSubmissionResponse, Status>>;

/// The reader is gone: nothing is left to do.
#[derive(Debug)]
struct Gone;

/// Serves `WriteSubmission`, which `within` has caused.
pub(super) fn serve(
    shared: Arc<Shared>,
    inbound: Streaming<WriteSubmissionRequest>,
    within: Option<TraceContext>,
) -> Frames<WriteSubmissionResponse> {
    let (out, frames) = mpsc::channel(OUTGOING);
    let open = shared.measures.open_stream(StreamKind::Write);
    tokio::spawn(async move {
        let (_open, closed) = (open, out.clone());
        tokio::select! {
            result = open_and_write(shared, inbound, &out, within) => if let Err(status) = result {
                let _ = out.send(Err(status)).await;
            },
            () = closed.closed() => {}
        }
    });
    Box::pin(ReceiverStream::new(frames))
}

async fn open_and_write(
    shared: Arc<Shared>,
    mut inbound: Streaming<WriteSubmissionRequest>,
    out: &Outgoing,
    within: Option<TraceContext>,
) -> Result<(), Status> {
    let first = inbound.message().await?;
    let Some(In::Open(open)) = first.and_then(|request| request.frame) else {
        return Err(QueueError::Protocol("the first frame must be `open`").into());
    };
    let (found, _) = trace::within(within, shared.open(&open, None, None)).await?;
    let engine = shared.engine_for(found.id())?;
    let admission = engine.admission().clone();
    let writer = match &found {
        Found::Live(handle) => {
            let id = handle.id;
            engine.ask(|reply| Command::ClaimWriter { id, reply }).await?.ok_or(QueueError::Recovering)?
        }
        Found::Finished(..) => 0,
    };
    // From here on the stream must not keep the engine, which stops once nobody can ask it any more.
    drop(engine);
    let opened = shared.opened(&found).await?;
    let acknowledged = opened.next_sequence;
    if send(out, Out::Opened(opened)).await.is_err() {
        return Ok(());
    }
    let results = open.results.then(|| follow(&shared, &found, &open, out));
    let mut stream = WriteStream {
        shared,
        found,
        out: out.clone(),
        within,
        writer,
        stored: acknowledged,
        owed: None,
        admission,
        busy: None,
        coming: None,
        half_closed: false,
        moves: false,
        ended: false,
        results,
    };
    match stream.run(inbound).await {
        Ok(()) => Ok(()),
        Err(Stop::Gone) => Ok(()),
        Err(Stop::Failed(status)) => Err(status),
    }
}

/// Sends outcomes on the same stream, from a task of its own: a client that is slow to take them is slow for itself.
fn follow(shared: &Arc<Shared>, found: &Found, open: &OpenSubmission, out: &Outgoing) -> Follower {
    let reader = Reader::new(Arc::clone(shared), found.clone(), open.after_position, Vec::new());
    let out = out.clone();
    Follower(tokio::spawn(async move { reader.run(true, &out, wrap).await }))
}

fn wrap(frame: ResultsFrame) -> WriteSubmissionResponse {
    let frame = match frame {
        ResultsFrame::Results(results) => Out::Results(results),
        ResultsFrame::Completed(summary) => Out::Completed(Completed { summary: Some(*summary) }),
        ResultsFrame::Draining(draining) => Out::Draining(draining),
    };
    WriteSubmissionResponse { frame: Some(frame) }
}

async fn send(out: &Outgoing, frame: Out) -> Result<(), Gone> {
    out.send(Ok(WriteSubmissionResponse { frame: Some(frame) })).await.map_err(|_| Gone)
}

/// The task that sends outcomes; it ends with the stream.
#[derive(Debug)]
struct Follower(JoinHandle<Result<(), QueueError>>);

impl Drop for Follower {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Why a stream ends before its time.
#[derive(Debug)]
enum Stop {
    Gone,
    Failed(Status),
}

impl From<Gone> for Stop {
    fn from(Gone: Gone) -> Self {
        Self::Gone
    }
}

impl From<QueueError> for Stop {
    fn from(error: QueueError) -> Self {
        Self::Failed(error.into())
    }
}

/// A batch that waits for memory in its turn, which it would lose if it asked anew.
struct Coming {
    batch: IncomingBatch,
    admitted: Pin<Box<dyn Future<Output = Result<Admitted, QueueError>> + Send>>,
}

impl std::fmt::Debug for Coming {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Coming").field("sequence", &self.batch.meta.sequence).finish_non_exhaustive()
    }
}

/// One opened stream.
#[derive(Debug)]
struct WriteStream {
    shared: Arc<Shared>,
    found: Found,
    out: Outgoing,
    /// What caused the stream: and so its batches, unless they say otherwise.
    within: Option<TraceContext>,
    writer: u64,
    /// Batches whose storage was acknowledged on this stream.
    stored: u32,
    /// The highest batch taken on this stream that was not acknowledged on it yet.
    owed: Option<u32>,
    admission: Admission,
    /// Set while something is owed.
    busy: Option<Busy>,
    /// A batch that waits for memory.
    coming: Option<Coming>,
    half_closed: bool,
    /// Another process is about to own the submission.
    moves: bool,
    /// `completed` was sent, or is sent by the follower.
    ended: bool,
    results: Option<Follower>,
}

impl WriteStream {
    async fn run(&mut self, mut inbound: Streaming<WriteSubmissionRequest>) -> Result<(), Stop> {
        let mut tail = match &self.found {
            Found::Live(handle) => Some(handle.tail()),
            Found::Finished(..) => None,
        };
        let shutdown = self.shared.shutdown.clone();
        loop {
            let seen = tail.as_mut().map(|tail| *tail.borrow_and_update());
            self.acknowledge(seen).await?;
            if self.finished() {
                break;
            }
            let draining = self.moves || shutdown.begun();
            if draining && self.owed.is_none() {
                return self.drain().await;
            }
            let changed = async {
                match &mut tail {
                    Some(tail) => tail.changed().await.is_ok(),
                    None => std::future::pending().await,
                }
            };
            let reads = self.coming.is_none() && !self.half_closed && !draining;
            let admitted = async {
                match &mut self.coming {
                    Some(coming) => (&mut coming.admitted).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                alive = changed => if !alive && !seen.is_some_and(|seen| seen.ended) {
                    match self.failure() {
                        QueueError::NotOwner { .. } => {
                            self.moves = true;
                            return self.drain().await;
                        }
                        error => return Err(error.into()),
                    }
                },
                admitted = admitted => self.admitted(admitted?).await?,
                frame = inbound.next(), if reads => self.frame(frame).await?,
                () = shutdown.wait(), if !draining => {}
            }
            if seen.is_some_and(|seen| seen.ended) {
                // The engine has let go: what still comes is compared with the tables.
                tail = None;
                self.found = self.shared.resolve_again(&self.found).await?;
            }
        }
        match self.results.take() {
            Some(mut follower) => match (&mut follower.0).await {
                Ok(result) => Ok(result?),
                Err(_aborted) => Err(QueueError::Internal.into()),
            },
            None => Ok(()),
        }
    }

    /// True if nothing more can come in and nothing more is owed.
    fn finished(&self) -> bool {
        self.half_closed && self.owed.is_none() && self.coming.is_none()
    }

    fn failure(&self) -> QueueError {
        match &self.found {
            Found::Live(handle) => handle.failure(),
            Found::Finished(..) => QueueError::Recovering,
        }
    }

    /// Announces the end of the stream: whoever opens another one finds the owner.
    async fn drain(&mut self) -> Result<(), Stop> {
        let reason = if self.moves { MOVES } else { STOPS }.to_owned();
        Ok(send(&self.out, Out::Draining(Draining { reason })).await?)
    }

    /// Says what is committed by now, and whether another stream has taken over.
    async fn acknowledge(&mut self, seen: Option<Tail>) -> Result<(), Stop> {
        let stored = match (&self.found, seen) {
            (Found::Live(_), Some(seen)) => {
                if seen.writer != self.writer {
                    return Err(QueueError::WriterReplaced.into());
                }
                seen.stored
            }
            (Found::Finished(_, submission), _) => submission.next_sequence,
            (Found::Live(_), None) => self.stored,
        };
        let repaid = self.owed.is_some_and(|sequence| sequence < stored);
        if stored > self.stored || repaid {
            self.stored = stored;
            // By the busy streams of this moment, this one included.
            let window_bytes = self.admission.window_bytes();
            if repaid {
                self.owed = None;
                self.busy = None;
            }
            send(&self.out, Out::Accepted(Accepted { through_sequence: stored - 1, window_bytes })).await?;
        }
        let over = seen.is_some_and(|seen| seen.ended) || matches!(self.found, Found::Finished(..));
        if over && !self.ended {
            self.ended = true;
            if self.results.is_none() {
                let summary = self.shared.submission(self.found.id()).await?;
                send(&self.out, Out::Completed(Completed { summary: Some(summary) })).await?;
            }
        }
        Ok(())
    }

    /// A frame from the client, or its end.
    async fn frame(&mut self, frame: Option<Result<WriteSubmissionRequest, Status>>) -> Result<(), Stop> {
        match frame {
            None => self.half_closed = true,
            // The client is gone; what it sent stands.
            Some(Err(_status)) => return Err(Stop::Gone),
            Some(Ok(request)) => match request.frame {
                Some(In::Batch(batch)) => self.batch(batch).await?,
                Some(In::Seal(seal)) => self.seal(seal).await?,
                Some(In::Open(_)) => return Err(QueueError::Protocol("`open` may be sent only once").into()),
                None => return Err(QueueError::Protocol("a frame must be one of those this version knows").into()),
            },
        }
        Ok(())
    }

    /// Takes a batch, or lets it wait for memory.
    async fn batch(&mut self, batch: ValidatedBatch) -> Result<(), Stop> {
        let sequence = batch.sequence;
        let batch = match convert::batch(batch, self.within) {
            Ok(batch) => batch,
            Err(refusal) => return self.answer(sequence, Err(refusal)).await,
        };
        let Found::Live(_) = &self.found else {
            let compared = self.shared.store_batch(&self.found, batch).await.map(drop);
            return self.answer(sequence, compared).await;
        };
        self.busy.get_or_insert_with(|| self.admission.busy());
        match self.admission.admit_now(batch.memory_bytes()) {
            Some(admitted) => self.take(batch, admitted).await,
            None => {
                let (admission, bytes) = (self.admission.clone(), batch.memory_bytes());
                let admitted = Box::pin(async move { admission.admit(bytes).await });
                self.coming = Some(Coming { batch, admitted });
                Ok(())
            }
        }
    }

    /// There is memory for the batch that has waited for it.
    async fn admitted(&mut self, admitted: Admitted) -> Result<(), Stop> {
        let Some(Coming { batch, .. }) = self.coming.take() else { return Ok(()) };
        self.take(batch, admitted).await
    }

    async fn take(&mut self, batch: IncomingBatch, admitted: Admitted) -> Result<(), Stop> {
        let (sequence, spare) = (batch.meta.sequence, batch.again());
        let taken = match &self.found {
            Found::Live(handle) => {
                let appended = match self.shared.engine_for(handle.id) {
                    Ok(engine) => engine.append_admitted(handle.id, batch, admitted).await,
                    Err(error) => Err(error),
                };
                match appended {
                    // It has ended since this stream looked: the tables decide whether this is a repeat.
                    Err(QueueError::Recovering) if handle.tail().borrow().ended => {
                        let ended = self.shared.resolve_again(&self.found).await?;
                        self.shared.store_batch(&ended, spare).await.map(drop)
                    }
                    Ok(Taken::Compare) => self.shared.compare(handle, sequence, &spare.meta.fingerprint).await,
                    other => other.map(drop),
                }
            }
            // It ended while the batch waited.
            Found::Finished(..) => self.shared.store_batch(&self.found, spare).await.map(drop),
        };
        self.answer(sequence, taken).await
    }

    /// A batch has its place, or is refused.
    async fn answer(&mut self, sequence: u32, taken: Result<(), QueueError>) -> Result<(), Stop> {
        match taken {
            Ok(()) => {
                self.owed = self.owed.max(Some(sequence));
                Ok(())
            }
            // It has not been taken; what is owed is still acknowledged.
            Err(QueueError::NotOwner { .. }) => {
                self.moves = true;
                Ok(())
            }
            // The submission's memory was thrown away, or the process stops: the client resumes.
            Err(error @ (QueueError::Recovering | QueueError::Draining | QueueError::Database)) => Err(error.into()),
            Err(refusal) => {
                if self.owed.is_none() {
                    self.busy = None;
                }
                let status = Some(error::to_message(&Status::from(refusal)));
                Ok(send(&self.out, Out::Rejected(Rejected { sequence, status })).await?)
            }
        }
    }

    async fn seal(&mut self, seal: Seal) -> Result<(), Stop> {
        match self.shared.seal(&self.found, seal.batch_count).await {
            Err(QueueError::Recovering) => {
                // It may have ended since this stream looked: then the tables decide.
                let again = self.shared.resolve_again(&self.found).await?;
                Ok(self.shared.seal(&again, seal.batch_count).await?)
            }
            Err(QueueError::NotOwner { .. }) => {
                self.moves = true;
                Ok(())
            }
            other => Ok(other?),
        }
    }
}
