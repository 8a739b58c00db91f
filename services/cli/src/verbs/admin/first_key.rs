//! `hashmesh admin first-key`: the key that no key could ask for.

use clap::Args;
use hashmesh_database::{Database, DatabaseConfig};

use super::super::{
    failure::{self, Failure},
    output::write_text,
};
use crate::settings::value_or_file;

/// Create a key with every scope, in the database itself, and print it. Whoever may write there needs no key.
#[derive(Args, Debug)]
pub(super) struct FirstKeyArgs {
    /// The mesh's Postgres (also DATABASE_URL): the URL, or @FILE for a file that holds it.
    #[arg(long, value_name = "URL|@FILE", required = true, value_parser = value_or_file)]
    database_url: String,
    /// The tenant that it acts for when it submits.
    #[arg(long, value_name = "NAME", default_value = "default")]
    tenant: String,
}

impl FirstKeyArgs {
    pub(super) async fn run(self) -> Result<u8, Failure> {
        let config = DatabaseConfig { url: self.database_url, ..DatabaseConfig::default() };
        let database = Database::connect(config).await;
        let database = database.map_err(|error| Failure::local("cannot use the database", &error))?;
        let key = hashmesh_queue::create_admin_key(&database, &self.tenant, "first key").await;
        let key = key.map_err(|error| Failure::local("cannot create a key", &error))?;
        write_text(&format!("{}\n", key.reveal())).await?;
        Ok(failure::OK)
    }
}
