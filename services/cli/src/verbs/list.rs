//! `hashmesh list`: submissions, newest first.

use clap::{Args, ValueEnum};
use hashmesh::{
    gateway::v1::ListSubmissionsRequest,
    limits::MAX_SUBMISSIONS_PAGE,
    v1::{Submission, SubmissionState},
};

use super::{
    documents::Rows,
    failure::Failure,
    output::Format,
    server::ServerArgs,
    submission::{self, timestamp},
    submit::parse_label,
};

const HEAD: &str = "SUBMISSION                            STATE      CREATED                   ACCEPTED    RECORDED      FAILED  LABELS\n";

/// List submissions, newest first.
#[derive(Args, Debug)]
pub(crate) struct ListArgs {
    /// Only submissions in this state.
    #[arg(long, value_enum, value_name = "STATE")]
    state: Option<State>,
    /// Only submissions with this label; may be given more than once, all must match.
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = parse_label)]
    labels: Vec<(String, String)>,
    /// Only submissions that retry this one.
    #[arg(long, value_name = "ID")]
    retry_of: Option<String>,
    /// At most this many.
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: u64,
    /// A table, one document, or an object per line.
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t)]
    output: Format,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum State {
    Open,
    Sealed,
    Completed,
    Cancelled,
}

impl State {
    fn number(self) -> i32 {
        let state = match self {
            Self::Open => SubmissionState::Open,
            Self::Sealed => SubmissionState::Sealed,
            Self::Completed => SubmissionState::Completed,
            Self::Cancelled => SubmissionState::Cancelled,
        };
        state as i32
    }
}

impl ListArgs {
    pub(super) async fn run(self) -> Result<u8, Failure> {
        let client = self.server.client()?;
        let mut rows = Rows::new(self.output, "submissions");
        rows.head(HEAD);
        let mut request = ListSubmissionsRequest {
            state: self.state.map_or(0, State::number),
            labels: self.labels.iter().cloned().collect(),
            retry_of: self.retry_of.clone().unwrap_or_default(),
            ..ListSubmissionsRequest::default()
        };
        let mut left = self.limit;
        while left > 0 {
            request.page_size = u32::try_from(left).unwrap_or(u32::MAX).min(MAX_SUBMISSIONS_PAGE);
            let page = client.list_submissions(request.clone()).await?;
            for one in page.submissions.iter().take(usize::try_from(left).unwrap_or(usize::MAX)) {
                rows.put_as(|| row(one), || submission::json(one))?;
                left -= 1;
            }
            rows.flush().await?;
            if page.next_page_token.is_empty() {
                break;
            }
            request.page_token = page.next_page_token;
        }
        rows.end().await
    }
}

fn row(one: &Submission) -> String {
    let labels = one.options.iter().flat_map(|options| &options.labels).map(|(key, value)| format!("{key}={value}"));
    let created = one.create_time.as_ref().and_then(timestamp).unwrap_or_default();
    let line = format!(
        "{:<36}  {:<9}  {created:<24}{:>10}  {:>10}  {:>10}  {}",
        one.submission_id,
        one.state().name(),
        one.accepted_tasks,
        one.recorded_tasks,
        one.failed_tasks + one.mismatched_tasks,
        labels.collect::<Vec<_>>().join(" ")
    );
    format!("{}\n", line.trim_end())
}
