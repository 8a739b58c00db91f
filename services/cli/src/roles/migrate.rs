//! `hashmesh migrate`: brings the tables up to date.

use anyhow::{Context, Result};
use clap::Args;
use hashmesh_database::DatabaseConfig;

use crate::{output::print, settings::value_or_file};

/// Bring the tables up to date, and say what was done.
#[derive(Args, Debug)]
pub(crate) struct MigrateArgs {
    /// The Postgres (also DATABASE_URL): the URL, or @FILE for a file that holds it.
    #[arg(long, value_name = "URL|@FILE", required = true, value_parser = value_or_file)]
    database_url: String,
}

impl MigrateArgs {
    pub(crate) async fn run(self) -> Result<()> {
        let config = DatabaseConfig { url: self.database_url, ..DatabaseConfig::default() };
        let report = hashmesh_database::migrate(&config).await.context("cannot bring the tables up to date")?;
        Ok(print(&format!("{report}\n"))?)
    }
}

/// The same at a role's start: said in the log.
pub(crate) async fn migrate(config: &DatabaseConfig) -> Result<()> {
    let report = hashmesh_database::migrate(config).await.context("cannot bring the tables up to date")?;
    tracing::info!("{report}");
    Ok(())
}
