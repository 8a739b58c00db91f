//! `hashmesh changes`: what is not as it was at the run before.

use clap::Args;

use super::{
    compare,
    failure::Failure,
    output::Format,
    progress::{Progress, When},
    recorded::names_a_submission,
    reporter::Reporter,
    server::ServerArgs,
};

/// Tell what changed from one run of a schedule to the next: the last run of a schedule, or any run by its id.
///
/// `+ NAME` is new, `- NAME` has gone, `* NAME` has another digest or size, `! NAME` could not be read in one of the runs (why is
/// on standard error); in byte order of the names. The exit code is 1 if there is any.
#[derive(Args, Debug)]
pub(crate) struct ChangesArgs {
    /// A schedule, or the submission of one of its runs.
    #[arg(value_name = "NAME|ID")]
    run: String,
    /// The shape of the report: a sign and a name per line, one document, or an object per line.
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t)]
    output: Format,
    #[command(flatten)]
    server: ServerArgs,
}

impl ChangesArgs {
    pub(super) async fn run(self) -> Result<u8, Failure> {
        let client = self.server.client()?;
        let id = if names_a_submission(self.run.as_ref()) {
            self.run.clone()
        } else {
            client.get_schedule(&self.run).await?.last_submission_id
        };
        if id.is_empty() {
            return Err(Failure::Local(format!("schedule {} has had no run yet", self.run)));
        }
        let submission = client.get_submission(&id).await?;
        if submission.schedule.is_empty() {
            return Err(Failure::Local(format!(
                "submission {id} is no run of a schedule; `hashmesh compare` takes any two"
            )));
        }
        if submission.previous_run.is_empty() {
            return Err(Failure::Local(format!("submission {id} is the first run of its schedule")));
        }
        let reporter = Reporter::new(false, Progress::new(When::Never, false));
        reporter.inform(&format!("hashmesh: A is {id}, B the run before, {}", submission.previous_run));
        compare::changes(&client, &submission.previous_run, &id, self.output, reporter).await
    }
}
