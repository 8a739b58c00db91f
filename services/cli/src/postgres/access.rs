//! How to reach a cluster: the port it prefers and the password, kept beside it.

use std::{
    fs, io,
    io::Write,
    net::{Ipv4Addr, TcpListener},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use rand::Rng;
use serde::{Deserialize, Serialize};

/// The superuser and the database of a cluster of ours.
pub(crate) const USER_AND_DATABASE: &str = "hashmesh";

/// Port and password of a cluster.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Access {
    /// The loopback port: kept from start to start while it is free, so that a printed URL stays right.
    pub(crate) port: u16,
    pub(crate) password: String,
}

impl Access {
    fn path(data_dir: &Path) -> PathBuf {
        data_dir.join("postgres.json")
    }

    /// What was kept for this data directory.
    pub(crate) fn read(data_dir: &Path) -> Result<Option<Self>> {
        let path = Self::path(data_dir);
        match fs::read(&path) {
            Ok(bytes) => {
                Ok(Some(serde_json::from_slice(&bytes).with_context(|| format!("{} is damaged", path.display()))?))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
        }
    }

    /// A free port and a new password.
    pub(crate) fn new() -> Result<Self> {
        Ok(Self { port: free_port()?, password: format!("{:032x}", rand::rng().random::<u128>()) })
    }

    /// Keeps it for the next start.
    pub(crate) fn write(&self, data_dir: &Path) -> Result<()> {
        write_private(&Self::path(data_dir), &serde_json::to_vec_pretty(self)?)
    }

    /// Takes another port if somebody else has this one now. Says whether it did.
    pub(crate) fn ensure_free_port(&mut self) -> Result<bool> {
        if TcpListener::bind((Ipv4Addr::LOCALHOST, self.port)).is_ok() {
            return Ok(false);
        }
        self.port = free_port()?;
        Ok(true)
    }

    /// A URL for every Postgres client on this machine.
    pub(crate) fn url(&self) -> String {
        let Self { port, password } = self;
        format!("postgresql://{USER_AND_DATABASE}:{password}@127.0.0.1:{port}/{USER_AND_DATABASE}?sslmode=disable")
    }
}

fn free_port() -> Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("there is no free port on 127.0.0.1")?;
    Ok(listener.local_addr()?.port())
}

/// Replaces a file in one step; only its owner may read it.
pub(crate) fn write_private(path: &Path, bytes: &[u8]) -> Result<()> {
    let aside = path.with_extension(format!("new-{:016x}", rand::rng().random::<u64>()));
    let write = || -> io::Result<()> {
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&aside)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&aside, path)
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn what_is_kept_is_private_and_read_back() {
        let directory = tempfile::tempdir().unwrap();
        assert!(Access::read(directory.path()).unwrap().is_none());
        let access = Access::new().unwrap();
        access.write(directory.path()).unwrap();
        access.write(directory.path()).unwrap();
        assert_eq!(Access::read(directory.path()).unwrap().unwrap().url(), access.url());
        let mode = fs::metadata(Access::path(directory.path())).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_port_that_somebody_has_is_given_up() {
        let other = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let taken = other.local_addr().unwrap().port();
        let mut access = Access { port: taken, password: String::new() };
        assert!(access.ensure_free_port().unwrap());
        assert_ne!(access.port, taken);
        assert!(!access.ensure_free_port().unwrap());
    }
}
