//! What `up` prints on standard output once it works; `ready` is the last line.

use std::{
    fmt::Write as _,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use hashmesh::tasks::AllowedSource;
use hashmesh_gateway::RateLimits;

use super::State;
use crate::{output::print, postgres::Postgres};

/// Everything that is worth telling.
#[derive(Debug)]
pub(super) struct Banner<'a> {
    pub(super) state: &'a State,
    /// What the Gateway is bound to.
    pub(super) gateway: SocketAddr,
    pub(super) parts: Vec<(&'static str, SocketAddr)>,
    pub(super) postgres: Option<&'a Postgres>,
    pub(super) sources: &'a [AllowedSource],
    /// Where a key that can administer is, if keys are checked.
    pub(super) admin_key: Option<PathBuf>,
    pub(super) limits: RateLimits,
    /// Whose certificate the Gateway shows, if it is known.
    pub(super) authority: Option<&'a Path>,
}

impl Banner<'_> {
    pub(super) fn print(&self) {
        if let Err(error) = print(&self.text()) {
            tracing::warn!(%error, "cannot print to standard output");
        }
    }

    fn text(&self) -> String {
        let (scheme, server) = self.state.server.split_once("://").unwrap_or(("http", &self.state.server));
        let mut text = String::new();
        let mut line = |what: &str, value: &str| {
            let _ = writeln!(text, "{what:<9} {value}");
        };
        line("hashmesh", &format!("{}, data in {}", env!("CARGO_PKG_VERSION"), self.state.data_dir.display()));
        for (name, address) in self.parts.iter().rev() {
            let scheme = if *name == "gateway" { scheme } else { "http" };
            line(name, &format!("{scheme}://{address}"));
        }
        line("admin", &format!("{}/readyz", self.state.admin));
        match self.postgres {
            Some(postgres) => {
                line("postgres", &format!("127.0.0.1:{}, PostgreSQL {}", postgres.port(), postgres.version()));
            }
            None => line("postgres", "as named by database_url"),
        }
        for source in self.sources {
            line("source", &format!("{source} may be read by workers"));
        }
        match &self.admin_key {
            Some(path) => {
                line("keys", "callers need one; `hashmesh admin keys create --tenant NAME` makes them");
                line("admin key", &path.display().to_string());
            }
            None if self.gateway.ip().is_loopback() => line("keys", "off, on loopback: everybody is tenant `default`"),
            None => line("keys", "off: whoever can reach the Gateway may use it as tenant `default`"),
        }
        match self.limits {
            RateLimits { per_address: 0, unauthenticated: 0, admin: 0, per_key: 0 } => {
                line("limits", "off: any number of calls (--limits on)");
            }
            limits => line(
                "limits",
                &format!("{} calls a minute from an address, {} with a key", limits.per_address, limits.per_key),
            ),
        }
        let header = match &self.admin_key {
            Some(path) => format!("-H \"authorization: Bearer $(cat {})\" ", path.display()),
            None => String::new(),
        };
        let transport = match (scheme, self.authority) {
            ("http", _) => "-plaintext".to_owned(),
            (_, Some(ca)) => format!("-cacert {}", ca.display()),
            (_, None) => String::new(),
        };
        let input = r#"{"rows":{"tasks":[{"name":"a","data":"aGVsbG8="},{"name":"b","data":""}]},"wait":true}"#;
        let _ = write!(
            text,
            "\n\
             grpcurl {transport} {server} list\n\
             grpcurl {transport} {header}-d '{input}' {server} hashmesh.gateway.v1.GatewayService/SubmitBatch\n\
             grpcurl {transport} {header}{server} hashmesh.gateway.v1.GatewayService/GetStats\n\
             \n\
             ready\n"
        );
        text
    }
}
