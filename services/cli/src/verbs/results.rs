//! `hashmesh results`: outcomes by position.

use clap::{Args, ValueEnum};
use futures::FutureExt as _;
use hashmesh::{
    client::{Client, ResultsQuery},
    gateway::v1::ListSubmissionsRequest,
    v1::{OutcomeStatus, Submission},
};

use super::{
    deliver::Printer as _,
    failure::{self, Failure},
    output::Output,
    print::OutcomePrinter,
    progress::{Progress, When},
    reporter::Reporter,
    server::ServerArgs,
    shape::ShapeArgs,
};

/// Write a submission's outcomes, by position.
///
/// In text, tasks that failed are named on standard error; the manifest on standard output has those with digests.
#[derive(Args, Debug)]
pub(crate) struct ResultsArgs {
    /// The submission.
    #[arg(value_name = "ID")]
    id: String,
    /// Only outcomes after this position.
    #[arg(long, value_name = "POSITION", default_value_t = 0)]
    after: u64,
    /// Wait for outcomes still to come, until the submission has ended.
    #[arg(long)]
    follow: bool,
    /// Only these outcomes; may be given more than once.
    #[arg(long, value_enum, value_name = "OUTCOME")]
    outcome: Vec<Outcome>,
    /// In place of each failed task, what became of it when it was retried (`hashmesh retry`). Each object then names its
    /// submission, whose position it has.
    #[arg(long, conflicts_with = "after")]
    with_retries: bool,
    #[command(flatten)]
    shape: ShapeArgs,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Outcome {
    Succeeded,
    Mismatched,
    Failed,
}

impl Outcome {
    fn status(self) -> OutcomeStatus {
        match self {
            Self::Succeeded => OutcomeStatus::Succeeded,
            Self::Mismatched => OutcomeStatus::Mismatched,
            Self::Failed => OutcomeStatus::Failed,
        }
    }
}

impl ResultsArgs {
    pub(super) async fn run(self) -> Result<u8, Failure> {
        let client = self.server.client()?;
        let reporter = Reporter::new(false, Progress::new(When::Never, false));
        let mut printer = OutcomePrinter::new(self.shape.shape()?, reporter.clone());
        let mut output = Output::new();
        let chain = if self.with_retries { retries_of(&client, &self.id).await? } else { vec![self.id.clone()] };
        printer.begin(&mut output);
        let mut last = None;
        for (index, id) in chain.iter().enumerate() {
            if self.with_retries {
                printer.name_submission(id);
            }
            let retried = index + 1 < chain.len();
            let Some(statuses) = self.statuses(retried) else { continue };
            last = Some(self.print_one(&client, id, statuses, &mut printer, &mut output).await?);
        }
        let last = match last {
            Some(last) => last,
            None => client.get_submission(&self.id).await?,
        };
        printer.end(&last, &mut output)?;
        output.flush().await?;
        Ok(if reporter.troubles() > 0 { failure::TROUBLE } else { failure::OK })
    }

    /// Which outcomes to ask for; empty is all of them, none means nothing. Where failed tasks were retried, their old
    /// outcome is left out.
    fn statuses(&self, retried: bool) -> Option<Vec<OutcomeStatus>> {
        let mut wanted: Vec<_> = self.outcome.iter().map(|outcome| outcome.status()).collect();
        wanted.dedup();
        if !retried {
            return Some(wanted);
        }
        if wanted.is_empty() {
            wanted = vec![OutcomeStatus::Succeeded, OutcomeStatus::Mismatched];
        }
        wanted.retain(|status| *status != OutcomeStatus::Failed);
        if wanted.is_empty() { None } else { Some(wanted) }
    }

    async fn print_one(
        &self,
        client: &Client,
        id: &str,
        statuses: Vec<OutcomeStatus>,
        printer: &mut OutcomePrinter,
        output: &mut Output,
    ) -> Result<Submission, Failure> {
        let query =
            ResultsQuery { submission_id: id.to_owned(), after_position: self.after, follow: self.follow, statuses };
        let mut results = client.results(query);
        loop {
            let next = match results.next().now_or_never() {
                Some(next) => next,
                None => {
                    // Nothing is ready: what is printed should be seen now.
                    output.flush().await?;
                    results.next().await
                }
            };
            let Some(outcomes) = next? else { break };
            printer.outcomes(&outcomes, output)?;
            output.flush_if_full().await?;
        }
        match results.summary() {
            Some(summary) => Ok(summary.clone()),
            None => Ok(client.get_submission(id).await?),
        }
    }
}

/// The submission, its newest retry, that one's newest retry, and so on.
async fn retries_of(client: &Client, id: &str) -> Result<Vec<String>, Failure> {
    let mut chain = vec![id.to_owned()];
    loop {
        let retry_of = chain.last().cloned().unwrap_or_default();
        let request = ListSubmissionsRequest { page_size: 1, retry_of, ..ListSubmissionsRequest::default() };
        match client.list_submissions(request).await?.submissions.into_iter().next() {
            Some(retry) => chain.push(retry.submission_id),
            None => return Ok(chain),
        }
    }
}
