//! What every role's process does around its `serve`: listeners, admin pages, signals, an orderly end.

use std::{future::Future, net::SocketAddr};

use anyhow::{Context, Result};
use futures::FutureExt;
use hashmesh_database::Database;
use hashmesh_runtime::{
    admin::Admin,
    health::Health,
    metrics::{self, Section},
    shutdown::Shutdown,
    tasks,
};
use tokio::net::TcpListener;

use crate::address::{HostPort, bind_pair, local};

/// A role's process, listening but not serving yet.
#[derive(Debug)]
pub(super) struct Process {
    name: &'static str,
    listener: TcpListener,
    admin_listener: TcpListener,
    shutdown: Shutdown,
}

impl Process {
    /// Binds both addresses, and takes the signals from here on.
    pub(super) async fn bind(name: &'static str, listen: &HostPort, admin: Option<&HostPort>) -> Result<Self> {
        // Before anything counts.
        metrics::start(sections(name));
        let shutdown = Shutdown::new();
        shutdown.on_signals();
        let (listener, admin_listener) = bind_pair(listen, admin).await?;
        Ok(Self { name, listener, admin_listener, shutdown })
    }

    /// The address that it is bound to.
    pub(super) fn address(&self) -> Result<SocketAddr> {
        Ok(self.listener.local_addr()?)
    }

    /// Serves until a signal comes and the role has drained.
    pub(super) async fn run<F, E>(
        self,
        pages: impl FnOnce(Admin) -> Admin,
        serve: impl FnOnce(TcpListener, Health, Shutdown) -> F,
    ) -> Result<()>
    where
        F: Future<Output = Result<(), E>>,
        anyhow::Error: From<E>,
    {
        let Self { name, listener, admin_listener, shutdown } = self;
        let health = Health::new();
        tracing::info!(
            role = name,
            address = %local(listener.local_addr()?),
            admin = %local(admin_listener.local_addr()?),
            version = env!("CARGO_PKG_VERSION"),
            "starting"
        );
        // Stopped last: who asks for readiness during the drain gets an answer.
        let admin_shutdown = Shutdown::new();
        let admin = pages(Admin::new().health(name, health.clone()));
        let admin = tasks::spawn_owned("admin", admin.serve(admin_listener, admin_shutdown.clone()));

        let served = serve(listener, health, shutdown).await;
        admin_shutdown.begin();
        admin.await?.context("the admin pages failed")?;
        served.map_err(anyhow::Error::from).with_context(|| format!("the {name} failed"))?;
        tracing::info!(role = name, "stopped");
        Ok(())
    }
}

/// What a role's process counts and measures.
fn sections(role: &str) -> &'static [Section] {
    match role {
        "gateway" => &[Section::Rpc, Section::Gateway],
        "queue" => &[Section::Rpc, Section::Database, Section::Queue],
        "worker" => &[Section::Rpc, Section::Worker],
        "hash" => &[Section::Rpc, Section::Hash],
        "cache" => &[Section::Rpc, Section::Database, Section::Cache],
        _ => &[Section::Rpc],
    }
}

/// The pages of a process that uses Postgres.
pub(crate) fn admin_pages(admin: Admin, database: Database) -> Admin {
    admin.page("/db/pool/stats", move || {
        let stats = serde_json::to_value(database.pool_stats()).unwrap_or_default();
        async move { stats }.boxed()
    })
}
