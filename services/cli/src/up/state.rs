//! What an `up` leaves for other commands on this machine: where it is, and which database it uses.
//!
//! Written to `DATA_DIR/up.json`, and to `RUNTIME_DIR/up-PORT.json` for those who know the Gateway's port only. Both are
//! readable by their owner only, since the URL has a password, and both stay when `up` has ended.

use std::{
    fs, io,
    net::SocketAddr,
    os::unix::fs::{DirBuilderExt, MetadataExt},
    path::{Path, PathBuf},
    process,
};

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use crate::{postgres::write_private, settings::environment};

/// A running or former `up`.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct State {
    pub(crate) data_dir: PathBuf,
    /// The Gateway's URL.
    pub(crate) server: String,
    /// The admin pages' URL.
    pub(crate) admin: String,
    /// The Postgres it uses, its own or a named one.
    pub(crate) database_url: String,
    /// Its process.
    pub(crate) pid: u32,
    /// The port of `server`.
    port: u16,
}

impl State {
    /// `scheme` is `http` or `https`, as the Gateway speaks.
    pub(super) fn new(
        data_dir: &Path,
        scheme: &str,
        server: SocketAddr,
        admin: SocketAddr,
        database_url: String,
    ) -> Self {
        Self {
            data_dir: data_dir.into(),
            server: format!("{scheme}://{server}"),
            admin: format!("http://{admin}"),
            database_url,
            pid: process::id(),
            port: server.port(),
        }
    }

    /// Leaves it in both places.
    pub(super) fn write(&self, data_dir: &Path) -> Result<()> {
        let text = serde_json::to_vec_pretty(self)?;
        write_private(&data_dir.join("up.json"), &text)?;
        // A convenience; not worth failing for.
        let by_port = make_runtime_dir().and_then(|directory| write_private(&by_port(&directory, self.port), &text));
        if let Err(error) = by_port {
            tracing::warn!("`hashmesh config --server` will not find this `up`: {error:#}");
        }
        Ok(())
    }

    /// The last `up` on a data directory.
    pub(crate) fn of_data_dir(data_dir: &Path) -> Result<Option<Self>> {
        read(&data_dir.join("up.json"))
    }

    /// The last `up` of this user whose Gateway had this port.
    pub(crate) fn of_port(port: u16) -> Result<Option<Self>> {
        read(&by_port(&runtime_dir(), port))
    }
}

fn by_port(directory: &Path, port: u16) -> PathBuf {
    directory.join(format!("up-{port}.json"))
}

fn runtime_dir() -> PathBuf {
    let uid = rustix::process::geteuid();
    if uid.is_root() {
        return "/run/hashmesh".into();
    }
    match environment("XDG_RUNTIME_DIR") {
        Some(directory) => PathBuf::from(directory).join("hashmesh"),
        None => std::env::temp_dir().join(format!("hashmesh-{}", uid.as_raw())),
    }
}

fn make_runtime_dir() -> Result<PathBuf> {
    let directory = runtime_dir();
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(&directory);
    made.with_context(|| format!("cannot make {}", directory.display()))?;
    // Below /tmp somebody else may have made it first, to read what we write.
    let owner = fs::symlink_metadata(&directory)?;
    ensure!(
        owner.is_dir() && owner.uid() == rustix::process::geteuid().as_raw(),
        "{} belongs to somebody else",
        directory.display()
    );
    Ok(directory)
}

fn read(path: &Path) -> Result<Option<State>> {
    match fs::read(path) {
        Ok(bytes) => {
            Ok(Some(serde_json::from_slice(&bytes).with_context(|| format!("{} is damaged", path.display()))?))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_in_a_data_directory_is_found_there() {
        let directory = tempfile::tempdir().unwrap();
        assert!(State::of_data_dir(directory.path()).unwrap().is_none());
        let address = SocketAddr::from(([127, 0, 0, 1], 1));
        let state = State::new(directory.path(), "http", address, address, "postgresql://u:p@127.0.0.1:2/d".to_owned());
        write_private(&directory.path().join("up.json"), &serde_json::to_vec(&state).unwrap()).unwrap();
        let found = State::of_data_dir(directory.path()).unwrap().unwrap();
        assert_eq!(found.database_url, state.database_url);
        assert_eq!(found.server, "http://127.0.0.1:1");
    }
}
