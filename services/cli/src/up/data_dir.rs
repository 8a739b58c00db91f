//! The data directory of an `up`: made, made reachable for Postgres, and locked against a second one.

use std::{
    fs::{self, File, TryLockError},
    io,
    os::unix::fs::{DirBuilderExt, MetadataExt},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};

use crate::postgres::{Cluster, Owner};

/// A data directory that is ours until this is dropped.
#[derive(Debug)]
pub(super) struct DataDir {
    path: PathBuf,
    /// Held, not read: the kernel gives the lock back however we end.
    _lock: File,
}

impl DataDir {
    /// Makes the directory if need be and locks it. `for_postgres`: a cluster will live in it.
    pub(super) fn open(path: &Path, for_postgres: bool) -> Result<Self> {
        let what = || format!("cannot use the data directory {} (setting `data_dir`)", path.display());
        let absolute = std::path::absolute(path).with_context(what)?;
        let owner = if for_postgres { Owner::of_cluster(&Cluster::directory(&absolute)) } else { None };
        if let (Some(owner), Some(parent)) = (owner, absolute.parent()) {
            // Before anything is made.
            owner.reaches(parent).with_context(what)?;
        }
        let created = create(path).with_context(what)?;
        let path = path.canonicalize().with_context(what)?;
        if let Some(owner) = owner {
            if created || (fs::metadata(&path)?.uid() == 0 && bare(&path)?) {
                owner.take(&path).with_context(what)?;
            }
            owner.reaches(&path).with_context(what)?;
        }
        let lock = lock(&path).with_context(what)?;
        Ok(Self { path, _lock: lock })
    }

    /// Absolute, without symbolic links.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

/// Whether it had to be made.
fn create(path: &Path) -> io::Result<bool> {
    if path.is_dir() {
        return Ok(false);
    }
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    // Others may pass, to find out what they may not read.
    fs::DirBuilder::new().mode(0o711).create(path)?;
    Ok(true)
}

/// A directory that nobody used for anything yet: empty, or with plain visible files only, such as a log of ours that a
/// shell redirected here. Such a one may change its owner; a home directory may not.
fn bare(path: &Path) -> io::Result<bool> {
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        let hidden = entry.file_name().to_string_lossy().starts_with('.');
        if hidden || !entry.file_type()?.is_file() {
            return Ok(false);
        }
    }
    Ok(true)
}

fn lock(path: &Path) -> Result<File> {
    let file = fs::OpenOptions::new().create(true).append(true).open(path.join("up.lock"))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            bail!("another `hashmesh up` is using it; stop that one, use it by --server, or choose another --data-dir")
        }
        Err(TryLockError::Error(error)) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_one_is_refused_until_the_first_is_gone() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("new/data");
        let first = DataDir::open(&path, false).unwrap();
        let error = format!("{:#}", DataDir::open(&path, false).unwrap_err());
        assert!(error.contains("another `hashmesh up` is using it"), "{error}");
        drop(first);
        DataDir::open(&path, false).unwrap();
    }

    #[test]
    fn only_a_directory_without_directories_or_hidden_files_is_bare() {
        let directory = tempfile::tempdir().unwrap();
        assert!(bare(directory.path()).unwrap());
        fs::write(directory.path().join("up.log"), "").unwrap();
        assert!(bare(directory.path()).unwrap());
        fs::write(directory.path().join(".bashrc"), "").unwrap();
        assert!(!bare(directory.path()).unwrap());
    }
}
