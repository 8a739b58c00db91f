//! What a worker may read besides inline bytes.
//!
//! A root is a directory that the worker was started with. It is opened once; every file is opened *beneath* that
//! descriptor, so that neither `..` nor a symbolic link leads out of it, whatever happens to the tree meanwhile. Symbolic
//! links that are relative and stay below the root are followed.

mod failure;
mod file;
mod root;

use std::path::PathBuf;

use hashmesh::{
    tasks::file_path,
    v1::{ByteRange, SourceRoot},
};
use hashmesh_hash::Recipe;

pub use self::root::SourcesError;
pub(crate) use self::{failure::Failure, file::Progress};
use self::{file::DigestFileError, root::Root};

/// Every root of this worker.
#[derive(Debug)]
pub(crate) struct Sources {
    /// The longest paths first, so that the nearest of nested roots is found first.
    roots: Vec<Root>,
}

/// What became of reading an object.
#[derive(Debug)]
pub(crate) enum ReadError {
    /// The task failed.
    Failed(Failure),
    /// The lease was cancelled: nobody wants to know.
    Cancelled,
}

impl Sources {
    /// Opens the roots.
    ///
    /// # Errors
    /// [`SourcesError`] for the first path that is no readable directory.
    pub(crate) fn open(paths: &[PathBuf]) -> Result<Self, SourcesError> {
        let mut roots = paths.iter().map(|path| Root::open(path)).collect::<Result<Vec<_>, _>>()?;
        roots.sort_by_key(|root| std::cmp::Reverse(root.depth()));
        Ok(Self { roots })
    }

    /// The roots as the queue is told them.
    pub(crate) fn announced(&self) -> Vec<SourceRoot> {
        self.roots.iter().map(|root| root.announced().clone()).collect()
    }

    /// Reads the object `uri`, or `range` of it, once, and appends its digests to `digests`. Returns the number of bytes
    /// hashed. On an error `digests` is as it was.
    ///
    /// Blocks on the disk; not for async threads.
    pub(crate) fn digest(
        &self,
        uri: &[u8],
        range: Option<ByteRange>,
        algorithms: &Recipe,
        digests: &mut Vec<u8>,
        progress: &dyn Progress,
    ) -> Result<u64, ReadError> {
        let path = file_path(uri).ok_or_else(|| ReadError::Failed(Failure::cannot_reach()))?;
        let names = components(&path).map_err(ReadError::Failed)?;
        let found = self.roots.iter().find_map(|root| Some((root, root.below(&names)?)));
        let (root, below) = found.ok_or_else(|| ReadError::Failed(Failure::cannot_reach()))?;
        let file = root.open_file(&below).map_err(|error| ReadError::Failed(Failure::from_open(&error)))?;
        file::digest_file(&file, range, algorithms, digests, progress).map_err(|error| match error {
            DigestFileError::Failed(failure) => ReadError::Failed(failure),
            DigestFileError::Cancelled => ReadError::Cancelled,
        })
    }
}

/// The names of a path. `//` and `/./` mean nothing; `..` is refused, because what it means depends on symbolic links.
fn components(path: &[u8]) -> Result<Vec<&[u8]>, Failure> {
    let names: Vec<&[u8]> = path.split(|byte| *byte == b'/').filter(|name| !name.is_empty() && *name != b".").collect();
    if names.contains(&b"..".as_slice()) {
        return Err(Failure::parent_in_path());
    }
    Ok(names)
}

#[cfg(test)]
mod tests;
