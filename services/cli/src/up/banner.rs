//! What `up` prints on standard output once it works; `ready` is the last line.

use std::{fmt::Write as _, net::SocketAddr, path::PathBuf};

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
    pub(super) sources: &'a [PathBuf],
}

impl Banner<'_> {
    pub(super) fn print(&self) {
        if let Err(error) = print(&self.text()) {
            tracing::warn!(%error, "cannot print to standard output");
        }
    }

    fn text(&self) -> String {
        let server = self.state.server.trim_start_matches("http://");
        let mut text = String::new();
        let mut line = |what: &str, value: &str| {
            let _ = writeln!(text, "{what:<9} {value}");
        };
        line("hashmesh", &format!("{}, data in {}", env!("CARGO_PKG_VERSION"), self.state.data_dir.display()));
        for (name, address) in self.parts.iter().rev() {
            line(name, &format!("http://{address}"));
        }
        line("admin", &format!("{}/readyz", self.state.admin));
        match self.postgres {
            Some(postgres) => {
                line("postgres", &format!("127.0.0.1:{}, PostgreSQL {}", postgres.port(), postgres.version()));
            }
            None => line("postgres", "as named by database_url"),
        }
        for source in self.sources {
            line("source", &format!("{} may be read by workers", source.display()));
        }
        if self.gateway.ip().is_loopback() {
            line("limits", "off, on loopback; no keys, everybody is tenant `default`");
        } else {
            line("limits", "none, and no keys: whoever can reach the Gateway may use it as tenant `default`");
        }
        let input = r#"{"rows":{"tasks":[{"name":"a","data":"aGVsbG8="},{"name":"b","data":""}]},"wait":true}"#;
        let _ = write!(
            text,
            "\n\
             grpcurl -plaintext {server} list\n\
             grpcurl -plaintext -d '{input}' {server} hashmesh.gateway.v1.GatewayService/SubmitBatch\n\
             grpcurl -plaintext {server} hashmesh.gateway.v1.GatewayService/GetStats\n\
             \n\
             ready\n"
        );
        text
    }
}
