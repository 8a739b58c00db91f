//! Sends what a feed makes and prints the outcomes that come back, at the same time.

use std::{future::Future, time::Duration};

use futures::FutureExt as _;
use hashmesh::{
    client::{Client, ResultStream, ResultsQuery, Submitter},
    v1::{PackedOutcomes, Submission, WaitReason},
};
use tokio::{
    sync::mpsc,
    time::{MissedTickBehavior, interval, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    failure::Failure,
    feed::{Fed, Unread},
    output::Output,
    reporter::Reporter,
    resume::Resume,
    submission, traced,
};

/// How long what is under way is waited for after Ctrl-C.
const LEAVE_WITHIN: Duration = Duration::from_secs(5);

/// No outcome for so long is worth a question.
const STILL_FOR: Duration = Duration::from_secs(3);

/// Prints outcomes in a verb's own way.
pub(super) trait Printer: Send {
    /// Puts outcomes, which are the next by position.
    fn outcomes(&mut self, outcomes: &PackedOutcomes, output: &mut Output) -> Result<(), Failure>;

    /// Puts an input that is no task.
    fn unread(&mut self, name: &[u8], why: &Unread, output: &mut Output) -> Result<(), Failure>;
}

/// How sending ended.
enum Sent {
    Sealed,
    /// Ctrl-C came first; the submission is open.
    Interrupted,
}

/// Sends, follows and prints to the end; gives the submission at its end. With no `feed` nothing is sent: the submission was
/// sealed before.
pub(super) async fn deliver(
    client: &Client,
    open: Open,
    reporter: &Reporter,
    printer: &mut impl Printer,
    output: &mut Output,
) -> Result<Submission, Failure> {
    let Open { submission_id, sending, resume } = open;
    let stop = CancellationToken::new();
    let (unread, unreads) = mpsc::channel(16);
    let mut results = client.results(ResultsQuery::following(&submission_id));
    let progress = reporter.progress();
    let send = async {
        match sending {
            Some((submitter, feed)) => send(submitter, feed, Some(unread), resume, reporter, &stop).await,
            None => Ok(Sent::Sealed),
        }
    };
    {
        let print = print(&mut results, unreads, reporter, printer, output);
        let interrupt = tokio::signal::ctrl_c();
        let explain_stillness = explain_stillness(client, &submission_id, reporter);
        tokio::pin!(send, print, interrupt, explain_stillness);
        let mut sealed = false;
        loop {
            tokio::select! {
                sent = &mut send, if !sealed => match sent? {
                    Sent::Sealed => sealed = true,
                    Sent::Interrupted => return Err(resume.interrupted(&submission_id, false)),
                },
                // Outcomes end only after the seal, or because the submission was cancelled.
                printed = &mut print => {
                    printed.map_err(|failure| resume.unprinted(failure, &submission_id))?;
                    break;
                }
                () = &mut explain_stillness => {}
                _ = &mut interrupt => {
                    stop.cancel();
                    if !sealed {
                        leave(&mut send).await?;
                    }
                    return Err(resume.interrupted(&submission_id, sealed));
                }
            }
        }
    }
    progress.finish();
    Ok(match results.summary() {
        Some(summary) => summary.clone(),
        None => client.get_submission(&submission_id).await?,
    })
}

/// A submission, and what is to be sent to it.
pub(super) struct Open {
    pub(super) submission_id: String,
    pub(super) sending: Option<(Submitter, mpsc::Receiver<Fed>)>,
    pub(super) resume: Resume,
}

/// Sends and seals, and leaves the rest to the mesh.
pub(super) async fn detach(
    submitter: Submitter,
    feed: mpsc::Receiver<Fed>,
    reporter: &Reporter,
) -> Result<(), Failure> {
    let submission_id = submitter.submission_id().to_owned();
    let stop = CancellationToken::new();
    let resume = Resume::ById;
    let send = send(submitter, feed, None, resume, reporter, &stop);
    tokio::pin!(send);
    let sent = tokio::select! {
        sent = &mut send => sent?,
        _ = tokio::signal::ctrl_c() => {
            stop.cancel();
            leave(&mut send).await?
        }
    };
    reporter.progress().finish();
    match sent {
        Sent::Sealed => Ok(()),
        Sent::Interrupted => Err(resume.interrupted(&submission_id, false)),
    }
}

async fn send(
    mut submitter: Submitter,
    mut feed: mpsc::Receiver<Fed>,
    unread: Option<mpsc::Sender<(Vec<u8>, Unread)>>,
    resume: Resume,
    reporter: &Reporter,
    stop: &CancellationToken,
) -> Result<Sent, Failure> {
    let submission_id = submitter.submission_id().to_owned();
    let explain = |error| resume.explain(error, &submission_id);
    let stored = submitter.progress();
    let mut tick = interval(Duration::from_millis(200));
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let fed = tokio::select! {
            // Stopping comes first: a batch that was given up must not be followed by another under its number.
            biased;
            () = stop.cancelled() => {
                submitter.close().await.map_err(explain)?;
                return Ok(Sent::Interrupted);
            }
            _ = tick.tick() => {
                reporter.progress().stored(stored.accepted_tasks());
                continue;
            }
            fed = feed.recv() => fed,
        };
        match fed {
            Some(Fed::Batch(batch)) => {
                let trace = traced::batch(&submission_id, submitter.next_sequence(), &batch);
                let sending = async {
                    match trace {
                        Some(trace) => submitter.send_traced(*batch, trace).await,
                        None => submitter.send(*batch).await,
                    }
                };
                let sent = tokio::select! {
                    sent = sending => Some(sent),
                    () = stop.cancelled() => None,
                };
                match sent {
                    Some(sent) => sent.map_err(explain)?,
                    // The next turn sees that it is to stop.
                    None => continue,
                };
            }
            Some(Fed::Unread { name, why }) => match &unread {
                // Nobody prints once the outcomes have ended; then the submission was cancelled.
                Some(unread) => unread.send((name, why)).await.unwrap_or_default(),
                None => reporter.trouble(&name, &why.to_string()),
            },
            None => break,
        }
    }
    let seal = async { submitter.seal().await };
    let sealed = tokio::select! {
        sealed = seal => sealed,
        () = stop.cancelled() => return Ok(Sent::Interrupted),
    };
    sealed.map_err(explain)?;
    reporter.progress().stored(stored.accepted_tasks());
    Ok(Sent::Sealed)
}

async fn print(
    results: &mut ResultStream,
    mut unreads: mpsc::Receiver<(Vec<u8>, Unread)>,
    reporter: &Reporter,
    printer: &mut impl Printer,
    output: &mut Output,
) -> Result<(), Failure> {
    let mut reading = true;
    // Of the frame whose outcomes are being printed.
    let mut _received = None;
    loop {
        let next = results.next().now_or_never();
        let next = match next {
            Some(next) => next,
            None => {
                // Nothing is ready: what is printed should be seen now.
                output.flush().await?;
                _received = None;
                tokio::select! {
                    next = results.next() => next,
                    unread = unreads.recv(), if reading => {
                        match unread {
                            Some((name, why)) => printer.unread(&name, &why, output)?,
                            None => reading = false,
                        }
                        continue;
                    }
                }
            }
        };
        let Some(outcomes) = next? else { break };
        let causes = results.take_traceparents();
        if !causes.is_empty() {
            _received = traced::received(&causes);
        }
        printer.outcomes(&outcomes, output)?;
        reporter.progress().done(u64::from(outcomes.task_count));
        output.flush_if_full().await?;
    }
    while let Ok((name, why)) = unreads.try_recv() {
        printer.unread(&name, &why, output)?;
    }
    output.flush().await
}

/// Asks now and then, while no outcomes come, why; tells it once. Never ends.
async fn explain_stillness(client: &Client, submission_id: &str, reporter: &Reporter) {
    let mut tick = interval(STILL_FOR);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut done = reporter.progress().position();
    tick.tick().await;
    loop {
        tick.tick().await;
        let now = reporter.progress().position();
        if now != std::mem::replace(&mut done, now) {
            continue;
        }
        // An error is not told here: whoever reads the outcomes has it too.
        let Ok(submission) = client.get_submission(submission_id).await else { continue };
        if submission.wait_reason() != WaitReason::Unspecified || submission.expansion_error.is_some() {
            reporter.warn(&format!("hashmesh: {}", submission::summary(&submission)));
            std::future::pending::<()>().await;
        }
    }
}

/// Waits a while for what is under way; another Ctrl-C ends that too.
async fn leave(send: &mut (impl Future<Output = Result<Sent, Failure>> + Unpin)) -> Result<Sent, Failure> {
    tokio::select! {
        left = timeout(LEAVE_WITHIN, send) => left.unwrap_or(Ok(Sent::Interrupted)),
        _ = tokio::signal::ctrl_c() => Ok(Sent::Interrupted),
    }
}
