//! A database per test, from a template. Not a schema: advisory locks are database-wide.

use std::{
    path::Path,
    sync::atomic::{AtomicU32, Ordering},
};

use tokio::sync::Mutex;
use tokio_postgres::{Client, NoTls};

use super::{cli, shared};

const TEMPLATE: &str = "hashmesh_template";
static COUNTER: AtomicU32 = AtomicU32::new(0);
/// Held while the template is made or copied: a copy wants nobody connected.
static TEMPLATE_READY: Mutex<bool> = Mutex::const_new(false);

/// A database with hashmesh's tables, empty.
#[derive(Clone, Debug)]
pub(crate) struct Database {
    pub(crate) url: String,
}

impl Database {
    pub(crate) async fn create() -> Self {
        let server = shared::up().await.database_url();
        let admin = connect(&server).await;
        let mut ready = TEMPLATE_READY.lock().await;
        if !*ready {
            admin.batch_execute(&format!("DROP DATABASE IF EXISTS {TEMPLATE}")).await.expect("no template");
            admin.batch_execute(&format!("CREATE DATABASE {TEMPLATE}")).await.expect("a template");
            cli::hashmesh(["migrate", "--database-url", &named(&server, TEMPLATE)]).run().await.succeeded();
            *ready = true;
        }
        let name = format!("test_{}", COUNTER.fetch_add(1, Ordering::Relaxed));
        admin.batch_execute(&format!("CREATE DATABASE {name} TEMPLATE {TEMPLATE}")).await.expect("a copy");
        Self { url: named(&server, &name) }
    }

    /// The same with the tables of this program, whichever version it is.
    pub(crate) async fn of_program(program: &Path) -> Self {
        let server = shared::up().await.database_url();
        let name = format!("test_{}", COUNTER.fetch_add(1, Ordering::Relaxed));
        let admin = connect(&server).await;
        admin.batch_execute(&format!("CREATE DATABASE {name}")).await.expect("a database");
        let database = Self { url: named(&server, &name) };
        database.migrate(program).await;
        database
    }

    /// What the program's `migrate` says that it did.
    pub(crate) async fn migrate(&self, program: &Path) -> String {
        cli::program(program, ["migrate", "--database-url", &self.url]).run().await.succeeded().text()
    }

    pub(crate) fn of_url(url: String) -> Self {
        Self { url }
    }

    /// A connection that lives as long as its client, on the caller's runtime.
    pub(crate) async fn client(&self) -> Client {
        connect(&self.url).await
    }

    /// The one value of a query, as text.
    pub(crate) async fn value(&self, query: &str) -> String {
        let rows = self.client().await.simple_query(query).await.unwrap_or_else(|error| panic!("{query}: {error}"));
        let value = rows.iter().find_map(|message| match message {
            tokio_postgres::SimpleQueryMessage::Row(row) => Some(row.get(0).unwrap_or("NULL").to_owned()),
            _ => None,
        });
        value.unwrap_or_else(|| panic!("{query}: no row"))
    }
}

async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.expect("Postgres answers");
    tokio::spawn(connection);
    client
}

/// The same server's URL for another database.
fn named(url: &str, database: &str) -> String {
    let (rest, query) = url.split_once('?').map_or((url, None), |(rest, query)| (rest, Some(query)));
    let (server, _) = rest.rsplit_once('/').expect("a URL with a database");
    let query = query.map(|query| format!("?{query}")).unwrap_or_default();
    format!("{server}/{database}{query}")
}
