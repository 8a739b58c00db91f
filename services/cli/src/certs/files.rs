//! Files that are there as a whole or not at all, and keys that nobody else can read.

use std::{
    fs::{self, OpenOptions},
    io::Write as _,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

/// What was written, in order.
#[derive(Debug, Default)]
pub(super) struct Made {
    paths: Vec<PathBuf>,
}

impl Made {
    pub(super) fn paths(&self) -> &[PathBuf] {
        &self.paths
    }
}

/// Writes a file that is not there yet.
pub(super) fn write_new(path: &Path, text: &str, mode: u32, made: &mut Made) -> Result<()> {
    let file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path);
    let written = file.and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all()));
    written.with_context(|| format!("cannot write {}", path.display()))?;
    made.paths.push(path.to_owned());
    Ok(())
}

/// Puts a file in the place of what is there, if anything is: readers see the one or the other.
pub(super) fn replace(path: &Path, text: &str, mode: u32, made: &mut Made) -> Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let beside = PathBuf::from(beside);
    // Left behind by one that was interrupted.
    let _ = fs::remove_file(&beside);
    write_new(&beside, text, mode, &mut Made::default())?;
    fs::rename(&beside, path).with_context(|| format!("cannot write {}", path.display()))?;
    made.paths.push(path.to_owned());
    Ok(())
}
