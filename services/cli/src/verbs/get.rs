//! `hashmesh get`: a submission's state and counters.

use clap::Args;

use super::{
    failure::{self, Failure},
    output::Format,
    server::ServerArgs,
    submission,
};

/// Show a submission's state and counters.
#[derive(Args, Debug)]
pub(crate) struct GetArgs {
    /// The submission.
    #[arg(value_name = "ID")]
    id: String,
    /// Lines for people, one document, or one line.
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t)]
    output: Format,
    #[command(flatten)]
    server: ServerArgs,
}

impl GetArgs {
    pub(super) async fn run(self) -> Result<u8, Failure> {
        let submission = self.server.client()?.get_submission(&self.id).await?;
        submission::write(self.output, &submission).await?;
        Ok(failure::OK)
    }
}
