//! The command line: parsed over environment and configuration file, then handed to what it names.

use std::{ffi::OsString, path::PathBuf, process::ExitCode};

use anyhow::{Context, Result};
use clap::{ArgMatches, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use hashmesh_runtime::{
    resources,
    telemetry::{self, LogFormat, Telemetry, TelemetrySettings},
};

use crate::{
    certs::CertsArgs,
    config::ConfigArgs,
    explain::ExplainArgs,
    healthcheck::HealthcheckArgs,
    output::print,
    report::ReportArgs,
    roles::{CacheArgs, GatewayArgs, HashArgs, MigrateArgs, QueueArgs, WorkerArgs},
    settings::{self, ConfigFile, FileError, Origins},
    telemetry::TelemetryArgs,
    up::UpArgs,
    verbs::{self, Verb},
};

/// Something failed, or did not verify.
const FAILURE: u8 = 1;
/// The command line, the environment or the configuration file is wrong.
const USAGE: u8 = 2;

/// Digests of millions of objects: none lost, none skipped.
#[derive(Debug, Parser)]
#[command(
    name = "hashmesh",
    version,
    propagate_version = true,
    after_help = "Every option --some-name is also the environment variable HASHMESH_SOME_NAME and the key `some-name` of the \
                  configuration file (TOML; a table [COMMAND] holds for that command only). `hashmesh config` shows what \
                  holds, and why."
)]
struct Cli {
    /// The configuration file (also HASHMESH_CONFIG); default: /etc/hashmesh/config.toml for root, else
    /// ~/.config/hashmesh/config.toml, if it exists.
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// How the log on standard error looks.
    #[arg(long, global = true, value_enum, default_value_t = LogLines::Text)]
    log_format: LogLines,
    #[command(flatten)]
    telemetry: TelemetryArgs,
    #[command(subcommand)]
    command: Command,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum LogLines {
    /// For people.
    Text,
    /// For collectors: one JSON object per line.
    Json,
}

#[derive(Debug, Subcommand)]
enum Command {
    #[command(flatten)]
    Verb(Verb),
    #[command(flatten)]
    Role(Role),
    Certs(CertsArgs),
    Config(Box<ConfigArgs>),
    Explain(ExplainArgs),
    Healthcheck(HealthcheckArgs),
    /// Print a completion script for a shell.
    Completion {
        /// Which shell.
        shell: Shell,
    },
    #[command(hide = true)]
    Report(ReportArgs),
}

/// What runs as a process of the mesh.
#[derive(Debug, Subcommand)]
enum Role {
    Up(Box<UpArgs>),
    Gateway(GatewayArgs),
    Queue(QueueArgs),
    Hash(HashArgs),
    Cache(CacheArgs),
    Worker(WorkerArgs),
    Migrate(MigrateArgs),
}

impl Role {
    /// Its `service.name`.
    fn service(&self) -> String {
        let name = match self {
            Self::Up(_) => "hashmesh",
            Self::Gateway(_) => "hashmesh-gateway",
            Self::Queue(_) => "hashmesh-queue",
            Self::Hash(_) => "hashmesh-hash",
            Self::Cache(_) => "hashmesh-cache",
            Self::Worker(_) => "hashmesh-worker",
            Self::Migrate(_) => "hashmesh-migrate",
        };
        name.to_owned()
    }
}

/// A command line that was understood, with where its values came from.
#[derive(Debug)]
pub(crate) struct Parsed {
    cli: Cli,
    matches: ArgMatches,
    origins: Origins,
    file: ConfigFile,
}

/// A command line, environment or configuration file that was not.
#[derive(Debug)]
pub(crate) enum Refused {
    File(FileError),
    Value {
        /// Where the value came from, if not from the command line.
        blame: Option<String>,
        error: Box<clap::Error>,
    },
}

impl From<FileError> for Refused {
    fn from(error: FileError) -> Self {
        Self::File(error)
    }
}

/// Understands the command line, `--help` and `--version` included (as a [`Refused`] that is no failure).
pub(crate) fn parse(arguments: &[OsString]) -> Result<Parsed, Refused> {
    let file = settings::read_config_file(arguments)?;
    let (command, origins) = settings::lay(Cli::command(), &file)?;
    let parsed = command.try_get_matches_from(arguments).and_then(|matches| {
        let cli = Cli::from_arg_matches(&matches)?;
        Ok((matches, cli))
    });
    match parsed {
        Ok((matches, cli)) => Ok(Parsed { cli, matches, origins, file }),
        Err(error) => Err(Refused::Value { blame: origins.blame(&error, arguments), error: Box::new(error) }),
    }
}

impl Refused {
    /// Prints it, and gives the exit code.
    pub(crate) fn report(self) -> ExitCode {
        match self {
            Self::File(error) => {
                eprintln!("error: {:#}", anyhow::Error::from(error));
                ExitCode::from(USAGE)
            }
            Self::Value { blame, error } => {
                if let Some(blame) = blame {
                    eprintln!("error: {blame}:");
                }
                // A closed pipe is nobody's concern here.
                let _ = error.print();
                ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(USAGE))
            }
        }
    }
}

/// Does what the command line says.
pub(crate) fn run(parsed: Parsed) -> ExitCode {
    let Parsed { cli, matches, origins, file } = parsed;
    let log_format = match cli.log_format {
        LogLines::Text => LogFormat::Text,
        LogLines::Json => LogFormat::Json,
    };
    let telemetry = |service: String| {
        let export = cli.telemetry.export();
        telemetry::init(TelemetrySettings { log_format, service, export }).context("cannot send traces")
    };
    let done = match cli.command {
        Command::Verb(verb) => {
            return match verb_telemetry(&cli.telemetry, telemetry) {
                Ok(started) => {
                    let code = verbs::run(verb);
                    started.into_iter().for_each(Telemetry::shutdown);
                    ExitCode::from(code)
                }
                Err(error) => failed(&error, USAGE),
            };
        }
        Command::Role(Role::Cache(CacheArgs { verb: Some(verb), .. })) => {
            return ExitCode::from(verbs::run(Verb::Cache(verb)));
        }
        Command::Config(args) => {
            let matches = matches.subcommand_matches("config").unwrap_or(&matches);
            args.run(matches, &origins, &file)
        }
        Command::Certs(args) => args.run(),
        Command::Explain(args) => args.run(),
        Command::Healthcheck(args) => args.run(),
        Command::Completion { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "hashmesh", &mut script);
            print(&String::from_utf8_lossy(&script)).map_err(Into::into)
        }
        Command::Report(args) => return args.run(),
        Command::Role(role) => match telemetry(role.service()) {
            Ok(started) => {
                let done = run_role(role);
                started.shutdown();
                done
            }
            Err(error) => return failed(&error, USAGE),
        },
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&error, FAILURE),
    }
}

fn failed(error: &anyhow::Error, code: u8) -> ExitCode {
    eprintln!("error: {error:#}");
    ExitCode::from(code)
}

/// Verbs speak for themselves; their log is for whoever asks for it, and their traces for whoever has a collector.
fn verb_telemetry(args: &TelemetryArgs, start: impl FnOnce(String) -> Result<Telemetry>) -> Result<Option<Telemetry>> {
    let logs = ["HASHMESH_LOG", "RUST_LOG"].iter().any(|name| settings::environment(name).is_some());
    let wanted = logs || args.export().is_some();
    wanted.then(|| start("hashmesh-client".to_owned())).transpose()
}

fn run_role(role: Role) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(resources::cpus().max(2))
        .thread_name("hashmesh")
        .enable_all()
        .build()?;
    runtime.block_on(async {
        match role {
            Role::Up(args) => args.run().await,
            Role::Gateway(args) => args.run().await,
            Role::Queue(args) => args.run().await,
            Role::Hash(args) => args.run().await,
            Role::Cache(args) => args.run().await,
            Role::Worker(args) => args.run().await,
            Role::Migrate(args) => args.run().await,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_tree_is_consistent() {
        Cli::command().debug_assert();
    }
}
