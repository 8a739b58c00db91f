//! `hashmesh watch`: a submission's progress.

use clap::Args;
use hashmesh::v1::Submission;

use super::{
    failure::Failure,
    output::{Format, Output, write_document},
    server::ServerArgs,
    submission,
};

/// Show a submission whenever it changes, until it has ended.
#[derive(Args, Debug)]
pub(crate) struct WatchArgs {
    /// The submission.
    #[arg(value_name = "ID")]
    id: String,
    /// A line per change, the submission at its end, or an object per change.
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t)]
    output: Format,
    #[command(flatten)]
    server: ServerArgs,
}

impl WatchArgs {
    pub(super) async fn run(self) -> Result<u8, Failure> {
        let client = self.server.client()?;
        let mut watch = client.watch(&self.id);
        let mut output = Output::new();
        let mut last = None;
        while let Some(now) = watch.next().await? {
            match self.output {
                Format::Text => output.buffer().extend_from_slice(line(&now).as_bytes()),
                Format::Jsonl => output.json_line(&submission::json(&now))?,
                Format::Json => {}
            }
            output.flush().await?;
            last = Some(now);
        }
        let Some(last) = last else {
            return Err(Failure::Local("the mesh ended the stream without a state".into()));
        };
        if self.output == Format::Json {
            write_document(self.output, &submission::json(&last)).await?;
        }
        Ok(submission::exit_code(&last))
    }
}

fn line(now: &Submission) -> String {
    format!("{}/{} {}\n", now.recorded_tasks, now.accepted_tasks, submission::summary(now))
}
