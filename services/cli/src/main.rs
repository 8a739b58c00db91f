//! The command `hashmesh`: a subcommand per role, the whole mesh in one process, and the user's verbs.

use std::process::ExitCode;

mod address;
mod certs;
mod command;
mod config;
mod database_url;
mod explain;
mod healthcheck;
mod kernels;
mod output;
mod postgres;
mod report;
mod roles;
mod settings;
mod telemetry;
mod up;
mod verbs;

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().collect();
    match command::parse(&arguments) {
        Ok(parsed) => command::run(parsed),
        Err(refused) => refused.report(),
    }
}
