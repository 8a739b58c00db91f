//! `hashmesh schedule`: submissions that the mesh repeats.

use std::{collections::BTreeMap, fmt::Write as _, path::PathBuf};

use clap::{Args, Subcommand};
use hashmesh::{
    gateway::v1::CreateScheduleRequest,
    v1::{Expansion, Schedule, SubmissionOptions},
};
use serde_json::{Map, Value, json};

use super::{
    algorithms::{AlgorithmArgs, numbers},
    caching::CachingArgs,
    failure::{self, Failure},
    output::{Format, lines, write_document, write_text},
    place::{NO_PLACE, place},
    server::ServerArgs,
    submission::{algorithms, timestamp},
    submit::parse_label,
};

/// Have the mesh list and digest a bucket or directory again and again; `hashmesh changes NAME` tells what changed.
#[derive(Args, Debug)]
pub(crate) struct ScheduleArgs {
    #[command(subcommand)]
    verb: ScheduleVerb,
}

#[derive(Debug, Subcommand)]
enum ScheduleVerb {
    /// Create a schedule. Creating the same again changes nothing.
    Create(Box<CreateArgs>),
    /// List schedules, by name.
    List(ListArgs),
    /// Show a schedule: its next time, its last run.
    Get(NameArgs),
    /// Delete a schedule. Its runs stay.
    Delete(NameArgs),
}

#[derive(Args, Debug)]
struct CreateArgs {
    /// Its name: up to 63 of a-z, A-Z, 0-9, `.`, `_`, `-`, `/`.
    #[arg(value_name = "NAME")]
    name: String,
    /// What the mesh lists: s3://BUCKET, s3://BUCKET/PREFIX/, file:///PATH/ of the workers, or list:URI, a text of URIs.
    #[arg(value_name = "URI")]
    source: PathBuf,
    /// When: minute, hour, day of month, month, day of week, as in crontab(5); or @daily, @weekly, @monthly.
    #[arg(long, value_name = "EXPRESSION")]
    cron: String,
    /// The time zone of the times, by its IANA name.
    #[arg(long, value_name = "ZONE", default_value = "UTC")]
    time_zone: String,
    #[command(flatten)]
    algorithms: AlgorithmArgs,
    /// A note on every run, to find it by; may be given more than once.
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = parse_label)]
    labels: Vec<(String, String)>,
    #[command(flatten)]
    caching: CachingArgs,
    /// Keep each run at least this long after its end; default: what the Queue keeps others.
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    keep_for: Option<std::time::Duration>,
    /// Lines for people, one document, or one line.
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t)]
    output: Format,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Args, Debug)]
struct ListArgs {
    /// A table, one document, or an object per line.
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t)]
    output: Format,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Args, Debug)]
struct NameArgs {
    /// The schedule.
    #[arg(value_name = "NAME")]
    name: String,
    /// Lines for people, one document, or one line.
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t)]
    output: Format,
    #[command(flatten)]
    server: ServerArgs,
}

impl ScheduleArgs {
    pub(super) async fn run(self) -> Result<u8, Failure> {
        match self.verb {
            ScheduleVerb::Create(args) => args.run().await?,
            ScheduleVerb::List(args) => args.run().await?,
            ScheduleVerb::Get(args) => {
                let schedule = args.server.client()?.get_schedule(&args.name).await?;
                write(args.output, &schedule).await?;
            }
            ScheduleVerb::Delete(args) => args.server.client()?.delete_schedule(&args.name).await?,
        }
        Ok(failure::OK)
    }
}

impl CreateArgs {
    async fn run(self) -> Result<(), Failure> {
        let Some(place) = place(&self.source)? else {
            return Err(Failure::Usage(format!("{} {NO_PLACE}", self.source.display())));
        };
        let options = SubmissionOptions {
            algorithms: numbers(&self.algorithms.or_default()?),
            part_bytes: self.algorithms.part_bytes(),
            labels: self.labels.into_iter().collect::<BTreeMap<_, _>>(),
            retention: self.keep_for.and_then(|kept| kept.try_into().ok()),
            expansion: Some(Expansion { source_uri: place.uri() }),
            cache: self.caching.mode().into(),
            ..SubmissionOptions::default()
        };
        let (name, cron, time_zone) = (self.name, self.cron, self.time_zone);
        let request = CreateScheduleRequest { name, cron, time_zone, options: Some(options) };
        write(self.output, &self.server.client()?.create_schedule(request).await?).await
    }
}

impl ListArgs {
    async fn run(self) -> Result<(), Failure> {
        let schedules = self.server.client()?.list_schedules().await?;
        match self.output {
            Format::Text => write_text(&table(&schedules)).await,
            Format::Json => {
                let all: Vec<Value> = schedules.iter().map(document).collect();
                write_document(self.output, &json!({ "schedules": all })).await
            }
            Format::Jsonl => {
                for schedule in &schedules {
                    write_document(self.output, &document(schedule)).await?;
                }
                Ok(())
            }
        }
    }
}

async fn write(format: Format, schedule: &Schedule) -> Result<(), Failure> {
    let document = document(schedule);
    if format != Format::Text {
        return write_document(format, &document).await;
    }
    write_text(&lines(&document)).await
}

fn document(schedule: &Schedule) -> Value {
    let options = schedule.options.clone().unwrap_or_default();
    let mut object = Map::from_iter([
        ("name".to_owned(), json!(schedule.name)),
        ("cron".to_owned(), json!(schedule.cron)),
        ("time_zone".to_owned(), json!(schedule.time_zone)),
        ("source_uri".to_owned(), json!(source(schedule))),
        ("algorithms".to_owned(), json!(algorithms(&options.algorithms))),
        ("runs".to_owned(), json!(schedule.runs)),
        ("skipped_runs".to_owned(), json!(schedule.skipped_runs)),
    ]);
    for (key, time) in [("create_time", &schedule.create_time), ("next_run_time", &schedule.next_run_time)] {
        if let Some(text) = time.as_ref().and_then(timestamp) {
            object.insert(key.to_owned(), json!(text));
        }
    }
    if !schedule.last_submission_id.is_empty() {
        object.insert("last_submission_id".to_owned(), json!(schedule.last_submission_id));
    }
    Value::Object(object)
}

fn source(schedule: &Schedule) -> String {
    let expansion = schedule.options.as_ref().and_then(|options| options.expansion.as_ref());
    expansion.map(|expansion| expansion.source_uri.clone()).unwrap_or_default()
}

fn table(schedules: &[Schedule]) -> String {
    let mut lines = String::from(
        "NAME                  NEXT                      LAST RUN                              RUNS  SOURCE\n",
    );
    for schedule in schedules {
        let next = schedule.next_run_time.as_ref().and_then(timestamp).unwrap_or_else(|| "never".to_owned());
        let last = if schedule.last_submission_id.is_empty() { "-" } else { &schedule.last_submission_id };
        let (name, runs) = (&schedule.name, schedule.runs);
        let _ = writeln!(lines, "{name:<20}  {next:<24}  {last:<36}  {runs:>4}  {}", source(schedule));
    }
    lines
}
