//! `hashmesh config`: every setting, its value, and where that came from.

use std::collections::BTreeMap;

use anyhow::Result;
use clap::{ArgMatches, Args, ValueEnum};
use hashmesh::client::ClientConfig;
use serde::Serialize;

use crate::{
    database_url,
    output::print,
    settings::{ConfigFile, Origin, Origins},
    up::UpArgs,
};

/// Print every setting of the mesh, its value, and where it came from.
#[derive(Args, Debug)]
pub(crate) struct ConfigArgs {
    /// `text`, or `json`: {key: {value, origin}}.
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
    #[command(flatten)]
    up: UpArgs,
    /// The mesh that client verbs talk to.
    #[arg(long, value_name = "URL", default_value = ClientConfig::DEFAULT_SERVER)]
    server: String,
    /// Where the Queues are, for roles that run on their own.
    #[arg(long, value_name = "URL", value_delimiter = ',')]
    queue: Vec<String>,
    /// Where the Hash services are, for roles that run on their own.
    #[arg(long, value_name = "URL", value_delimiter = ',')]
    hash: Vec<String>,
    /// Where the Cache services are, for Gateways and Workers that run on their own.
    #[arg(long, value_name = "URL", value_delimiter = ',')]
    cache_url: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Output {
    Text,
    #[value(alias = "jsonl")]
    Json,
}

/// One setting as it is printed.
#[derive(Debug, Serialize)]
struct Setting {
    /// A text, a list of texts for repeatable settings, or null.
    value: serde_json::Value,
    origin: String,
}

impl ConfigArgs {
    pub(crate) fn run(self, matches: &ArgMatches, origins: &Origins, file: &ConfigFile) -> Result<()> {
        let mut settings: BTreeMap<String, Setting> = BTreeMap::new();
        for id in matches
            .ids()
            .map(clap::Id::as_str)
            .filter(|id| !matches!(*id, "output" | "config") && !id.ends_with("Args"))
        {
            let origin = origins.of("config", matches, id);
            let texts: Vec<String> =
                matches.get_raw(id).into_iter().flatten().map(|value| value.to_string_lossy().into_owned()).collect();
            let list = matches!(id, "allow_source" | "cache_url" | "queue" | "hash" | "replica_url" | "trusted_proxy");
            let value = if list { texts.into() } else { texts.into_iter().next().into() };
            settings.insert(id.to_owned(), Setting { value, origin: origin.to_string() });
        }
        let unset = || Setting { value: serde_json::Value::Null, origin: Origin::Default.to_string() };
        for id in [
            "admin_listen",
            "allow_source",
            "cache_url",
            "database_url",
            "hash",
            "postgres_bin",
            "queue",
            "redis_url",
            "replica_url",
            "tls_ca",
            "tls_cert",
            "tls_key",
            "trusted_proxy",
        ] {
            settings.entry(id.to_owned()).or_insert_with(unset);
        }
        if let Some(path) = &file.path {
            let setting = Setting { value: path.to_string_lossy().into(), origin: "the file that was read".to_owned() };
            settings.insert("config".to_owned(), setting);
        }
        if settings["database_url"].value.is_null() {
            let data_dir = (self.up.data_dir.as_path(), &origins.of("config", matches, "data_dir"));
            let server = (self.server.as_str(), &origins.of("config", matches, "server"));
            if let Some((url, origin)) = database_url::find(data_dir, server)? {
                settings.insert("database_url".to_owned(), Setting { value: url.into(), origin: origin.to_string() });
            }
        }
        self.print(&settings)
    }

    fn print(&self, settings: &BTreeMap<String, Setting>) -> Result<()> {
        let text = match self.output {
            Output::Json => format!("{}\n", serde_json::to_string_pretty(settings)?),
            Output::Text => settings
                .iter()
                .map(|(key, Setting { value, origin })| format!("{key} = {value}  ({origin})\n"))
                .collect(),
        };
        Ok(print(&text)?)
    }
}
