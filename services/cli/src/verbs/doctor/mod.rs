//! `hashmesh doctor`: what is wrong between here and a mesh, and what to do.
//!
//! Each check is asked in one place and judged in another, which is a function of what was measured. What changes the mesh is
//! one submission, labelled `by=doctor`, which is cancelled whatever happens.

mod answers;
mod certificate;
mod check;
mod clock;
mod keys;
mod reach;
mod schema;
mod size;
mod stream;
mod verdict;

use std::time::Duration;

use clap::Args;

use self::{
    check::{Check, Findings},
    reach::Answer,
};
use super::{
    failure::{self, Failure},
    output::{Format, write_document, write_text},
    server::ServerArgs,
};

/// What cannot be asked without calls that are answered.
const OF_CALLS: [&str; 3] = ["message size", "stream", "clock"];

/// Find out what is wrong between here and a mesh: proxies and their timeouts, reflection, clocks, certificates, tables.
///
/// Exit code 0 if nothing failed (warnings are none), 1 if something did.
#[derive(Args, Debug)]
pub(crate) struct DoctorArgs {
    /// How long a stream that says nothing must live. Envoy ends it after 15 s by default, others after 60 s; limits of 5 min
    /// are found with 6m.
    #[arg(id = "for", long = "for", value_name = "DURATION", default_value = "20s", value_parser = humantime::parse_duration)]
    idle: Duration,
    /// The mesh's Postgres, to look at its tables and settings (also DATABASE_URL). Nothing is changed there.
    #[arg(long, value_name = "URL")]
    database_url: Option<String>,
    /// Lines for people, one document, or one line.
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t)]
    output: Format,
    #[command(flatten)]
    server: ServerArgs,
}

impl DoctorArgs {
    pub(super) async fn run(self) -> Result<u8, Failure> {
        let client = self.server.client()?;
        let server = client.config().server.clone();
        let mut checks = Vec::new();
        let mut unreachable = None;
        match reach::ask(&client).await {
            Answer::Answers(found) => {
                checks.extend(found);
                checks.push(keys::fine(client.config().api_key.is_some()));
                checks.extend(answers::ask(&client).await);
                checks.push(size::ask(&client).await);
                checks.extend(self.stream().await?);
            }
            Answer::Refuses(found, status) => {
                checks.extend(found);
                checks.push(keys::refused(client.config().api_key.is_some(), &status));
                checks.extend(answers::ask(&client).await);
                checks.extend(OF_CALLS.map(|name| Check::skipped(name, "the mesh refuses our calls: see keys")));
            }
            Answer::None(found, error) => {
                checks.push(found);
                let others = ["keys", "proxy", "health", "reflection"].into_iter().chain(OF_CALLS);
                checks.extend(others.map(|name| Check::skipped(name, "the mesh cannot be reached")));
                unreachable = Some(error);
            }
        }
        checks.push(certificate::of_server(&client).await);
        checks.extend(self.server.own_certificate().map(certificate::of_file));
        checks.push(schema::ask(self.database_url).await);

        let findings = Findings { server, checks };
        match self.output {
            Format::Text => write_text(&findings.text()).await?,
            format => write_document(format, &findings.json()).await?,
        }
        match unreachable {
            Some(error) => Err(error.into()),
            None if findings.failed() => Ok(failure::TROUBLE),
            None => Ok(failure::OK),
        }
    }

    /// Over a connection of its own, as the streams of other verbs.
    async fn stream(&self) -> Result<[Check; 2], Failure> {
        eprintln!("hashmesh: keeping a stream open for {}", humantime::format_duration(self.idle));
        let kept = stream::keep(&self.server.client()?, self.idle).await?;
        Ok([verdict::judge(&kept, self.idle), clock::judge(kept.reading.as_ref())])
    }
}
