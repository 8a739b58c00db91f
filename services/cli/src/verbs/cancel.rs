//! `hashmesh cancel`: ends a submission.

use clap::Args;

use super::{
    failure::{self, Failure},
    output::Format,
    server::ServerArgs,
    submission,
};

/// Cancel a submission: its unresolved tasks never get an outcome. What was recorded stays.
#[derive(Args, Debug)]
pub(crate) struct CancelArgs {
    /// The submission.
    #[arg(value_name = "ID")]
    id: String,
    /// Lines for people, one document, or one line.
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t)]
    output: Format,
    #[command(flatten)]
    server: ServerArgs,
}

impl CancelArgs {
    pub(super) async fn run(self) -> Result<u8, Failure> {
        let submission = self.server.client()?.cancel_submission(&self.id).await?;
        submission::write(self.output, &submission).await?;
        Ok(failure::OK)
    }
}
