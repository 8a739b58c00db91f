//! Writing a submission.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
};

use super::{
    connection::Client,
    error::ClientError,
    submit_driver::{Command, Driver, open_stream},
    traced::BatchTrace,
    unary::mint_key,
    window::{Window, batch_bytes},
};
use crate::{
    gateway::v1::OpenSubmission,
    v1::{Limits, Opened, PackedTasks, Submission, SubmissionOptions},
};

/// Which submission to write.
#[derive(Clone, Debug)]
pub enum Target {
    /// A new one; with a key that was used before, the one that it made.
    New {
        /// Its options. The defaults are the server's.
        options: SubmissionOptions,
        /// Makes a rerun find its submission. Without one, a key is minted for this call's own attempts.
        idempotency_key: Option<String>,
    },
    /// One that exists.
    Existing {
        /// Its id.
        submission_id: String,
    },
}

impl Default for Target {
    fn default() -> Self {
        Self::New { options: SubmissionOptions::default(), idempotency_key: None }
    }
}

/// How far a [`Submitter`] is.
#[derive(Debug, Default)]
pub struct Progress {
    pub(super) accepted_tasks: AtomicU64,
    pub(super) reconnects: AtomicU64,
}

impl Progress {
    /// Tasks that this submitter sent and that are committed.
    pub fn accepted_tasks(&self) -> u64 {
        self.accepted_tasks.load(Ordering::Relaxed)
    }

    /// How often the stream was opened again.
    pub fn reconnects(&self) -> u64 {
        self.reconnects.load(Ordering::Relaxed)
    }
}

/// Sends batches to one submission, from one place at a time.
///
/// A task of its own keeps the stream: it answers pings, waits for room in the server's window, and after a transient
/// failure opens the submission again and sends what is not stored. Dropping the submitter ends it at once; the submission
/// stays open, and what was acknowledged stays stored.
#[derive(Debug)]
pub struct Submitter {
    client: Client,
    opened: Opened,
    limits: Limits,
    next_sequence: u32,
    progress: Arc<Progress>,
    commands: Option<mpsc::Sender<Command>>,
    driver: DriverTask,
    failure: Option<ClientError>,
}

/// The task that keeps the stream; ends with its owner.
#[derive(Debug)]
struct DriverTask(JoinHandle<Result<(), ClientError>>);

impl Drop for DriverTask {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Client {
    /// Opens a submission for writing, as its only writer (another one gets `WRITER_REPLACED`), to send what follows the
    /// batches that are stored: see [`Submitter::next_sequence`].
    ///
    /// # Errors
    /// If it is refused, or an outage lasts too long.
    pub async fn submit(&self, target: Target) -> Result<Submitter, ClientError> {
        self.open_submitter(target, false).await
    }

    /// As [`submit`](Self::submit), but to send every batch from the first on. Those that are stored are compared by the
    /// server and, if their tasks differ, refused with `SEQUENCE_CONFLICT`: how a rerun makes sure that it continues the
    /// same work.
    ///
    /// # Errors
    /// If it is refused, or an outage lasts too long.
    pub async fn submit_from_start(&self, target: Target) -> Result<Submitter, ClientError> {
        self.open_submitter(target, true).await
    }

    async fn open_submitter(&self, target: Target, from_start: bool) -> Result<Submitter, ClientError> {
        let mut open = OpenSubmission { answers_pings: true, ..OpenSubmission::default() };
        match target {
            Target::New { options, idempotency_key } => {
                open.options = Some(options);
                open.idempotency_key = idempotency_key.unwrap_or_else(mint_key);
            }
            Target::Existing { submission_id } => open.submission_id = submission_id,
        }
        let mut outage = self.outage();
        let (stream, opened) = loop {
            match open_stream(self, &open).await {
                Ok(opened) => break opened,
                Err(status) => outage.wait(&self.config().server, status).await?,
            }
        };
        let limits = limits_of(&opened);
        let stored = opened.next_sequence;
        let next_sequence = if from_start { 0 } else { stored };
        let window = Window::new(limits, next_sequence, stored);
        let progress = Arc::new(Progress::default());
        let (commands, receiver) = mpsc::channel(1);
        let driver = Driver::new(self.clone(), opened.submission_id.clone(), window, Arc::clone(&progress), receiver);
        let driver = DriverTask(tokio::spawn(driver.run(stream)));
        let commands = Some(commands);
        Ok(Submitter { client: self.clone(), opened, limits, next_sequence, progress, commands, driver, failure: None })
    }
}

impl Submitter {
    /// The submission.
    #[must_use]
    pub fn submission_id(&self) -> &str {
        &self.opened.submission_id
    }

    /// The submission as it was when it was opened.
    #[must_use]
    pub fn opened(&self) -> &Opened {
        &self.opened
    }

    /// What a batch may hold.
    #[must_use]
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// The number that the next batch will have.
    #[must_use]
    pub fn next_sequence(&self) -> u32 {
        self.next_sequence
    }

    /// How far the submitter is; may be kept and read at any time.
    #[must_use]
    pub fn progress(&self) -> Arc<Progress> {
        Arc::clone(&self.progress)
    }

    /// Hands in the next batch and gives its sequence number. Waits while the server's window is full, through outages.
    /// The batch is stored for certain only once [`flush`](Self::flush) or [`seal`](Self::seal) has returned.
    /// If the call is cancelled, the batch is not sent.
    ///
    /// # Errors
    /// If the batch exceeds the server's limits, or if any batch sent before was refused or could not be stored: from then
    /// on every call fails the same way.
    pub async fn send(&mut self, tasks: PackedTasks) -> Result<u32, ClientError> {
        self.send_caused(tasks, None).await
    }

    /// As [`send`](Self::send), with what caused the batch. Without, it is what caused the client's calls
    /// ([`Client::traced`]).
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub async fn send_traced(&mut self, tasks: PackedTasks, trace: BatchTrace) -> Result<u32, ClientError> {
        self.send_caused(tasks, Some(trace)).await
    }

    async fn send_caused(&mut self, tasks: PackedTasks, trace: Option<BatchTrace>) -> Result<u32, ClientError> {
        let (count, bytes) = (tasks.lengths.len(), batch_bytes(&tasks));
        let (max_tasks, max_bytes) = (self.limits.max_batch_tasks, self.limits.max_batch_bytes);
        if count == 0 || count > max_tasks as usize || bytes > max_bytes as usize {
            return Err(ClientError::BatchSize { tasks: count, bytes, max_tasks, max_bytes });
        }
        self.command(Command::Batch(Box::new(tasks), trace)).await?;
        let sequence = self.next_sequence;
        self.next_sequence = sequence.saturating_add(1);
        Ok(sequence)
    }

    /// Waits until everything that was sent is committed.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub async fn flush(&mut self) -> Result<(), ClientError> {
        let (done, flushed) = oneshot::channel();
        self.command(Command::Flush(done)).await?;
        if flushed.await.is_ok() {
            return Ok(());
        }
        Err(self.fail().await)
    }

    /// Waits until everything is committed and leaves the submission open.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub async fn close(mut self) -> Result<(), ClientError> {
        self.flush().await?;
        self.leave().await;
        Ok(())
    }

    /// Waits until everything is committed, then says that no more batches follow.
    ///
    /// # Errors
    /// As [`send`](Self::send); or if another number of batches is stored than was sent.
    pub async fn seal(mut self) -> Result<Submission, ClientError> {
        self.flush().await?;
        self.leave().await;
        // A call of its own, because it has an answer; the frame on the stream has none.
        self.client.seal_submission(&self.opened.submission_id, self.next_sequence).await
    }

    /// Half-closes the stream and lets it end.
    async fn leave(&mut self) {
        self.commands = None;
        // Everything is committed: how the stream ends changes nothing any more.
        let _ = (&mut self.driver.0).await;
    }

    async fn command(&mut self, command: Command) -> Result<(), ClientError> {
        if let Some(commands) = &self.commands
            && commands.send(command).await.is_ok()
        {
            return Ok(());
        }
        Err(self.fail().await)
    }

    /// Why the driver has ended.
    async fn fail(&mut self) -> ClientError {
        if let Some(failure) = &self.failure {
            return failure.clone();
        }
        self.commands = None;
        let failure = match (&mut self.driver.0).await {
            Ok(Err(failure)) => failure,
            Ok(Ok(())) => ClientError::Protocol("the stream ended before its end".to_owned()),
            Err(_) => ClientError::Protocol("the stream's task was stopped".to_owned()),
        };
        self.failure.insert(failure).clone()
    }
}

/// The server's limits; those of this version if it sends none.
pub(super) fn limits_of(opened: &Opened) -> Limits {
    opened.limits.unwrap_or_else(crate::limits::announced)
}
