//! `hashmesh retry`: tries failed tasks again.

use clap::Args;

use super::{
    failure::{self, Failure},
    output::{Format, write_text},
    server::ServerArgs,
    submission,
};

/// Try a submission's failed tasks again, as a new submission, whose id is printed. The old one never changes; `hashmesh
/// results ID --with-retries` shows both as one.
#[derive(Args, Debug)]
pub(crate) struct RetryArgs {
    /// A completed submission with failed tasks.
    #[arg(value_name = "ID")]
    id: String,
    /// Make a rerun with the same key find the same new submission.
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
    /// The new submission's id, one document, or one line.
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t)]
    output: Format,
    #[command(flatten)]
    server: ServerArgs,
}

impl RetryArgs {
    pub(super) async fn run(self) -> Result<u8, Failure> {
        let submission = self.server.client()?.retry_tasks(&self.id, self.idempotency_key).await?;
        match self.output {
            Format::Text => write_text(&format!("{}\n", submission.submission_id)).await?,
            format => submission::write(format, &submission).await?,
        }
        Ok(failure::OK)
    }
}
