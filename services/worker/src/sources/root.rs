//! One allowed root directory.

use std::{
    ffi::OsStr,
    fs::{self, File},
    io,
    os::{
        fd::OwnedFd,
        unix::{ffi::OsStrExt as _, fs::MetadataExt as _},
    },
    path::{Path, PathBuf},
};

use cap_std::{
    ambient_authority,
    fs::{Dir, OpenOptions, OpenOptionsExt as _},
};
use hashmesh::{limits::MAX_URI_BYTES, tasks::file_uri, v1::SourceRoot};
use rustix::fs::{Mode, OFlags, openat};

use super::SourcesError;

/// An open root.
#[derive(Debug)]
pub(crate) struct Root {
    /// The names of its path, from `/`, without symbolic links.
    names: Vec<Vec<u8>>,
    directory: Dir,
    announced: SourceRoot,
}

impl Root {
    pub(crate) fn open(path: &Path) -> Result<Self, SourcesError> {
        let failed = |source| SourcesError::Open { path: path.to_owned(), source };
        let canonical = fs::canonicalize(path).map_err(failed)?;
        let metadata = fs::metadata(&canonical).map_err(failed)?;
        if !metadata.is_dir() {
            return Err(SourcesError::NotADirectory { path: path.to_owned() });
        }
        let directory = Dir::open_ambient_dir(&canonical, ambient_authority()).map_err(failed)?;
        // Of what was opened, not of what the path names by now.
        let metadata = directory.try_clone().and_then(|opened| opened.into_std_file().metadata()).map_err(failed)?;
        let bytes = canonical.as_os_str().as_bytes();
        let names = bytes.split(|byte| *byte == b'/').filter(|name| !name.is_empty()).map(<[u8]>::to_vec).collect();
        let mut uri_prefix = file_uri(bytes);
        if !uri_prefix.ends_with('/') {
            uri_prefix.push('/');
        }
        if uri_prefix.len() >= MAX_URI_BYTES {
            return Err(SourcesError::TooLong { path: path.to_owned() });
        }
        let announced = SourceRoot { uri_prefix, device: metadata.dev(), inode: metadata.ino() };
        Ok(Self { names, directory, announced })
    }

    pub(crate) fn depth(&self) -> usize {
        self.names.len()
    }

    pub(crate) fn announced(&self) -> &SourceRoot {
        &self.announced
    }

    /// What lies at `names` from `/`, if that is this root or below it. Nothing may lead out of the directory that the first
    /// `within` of the names are, if that is below the root.
    pub(crate) fn below(&self, names: &[&[u8]], within: usize) -> Option<Below> {
        let (head, rest) = names.split_at_checked(self.names.len())?;
        if !head.iter().zip(&self.names).all(|(name, ours)| *name == ours.as_slice()) {
            return None;
        }
        let (within, path) = rest.split_at_checked(within.saturating_sub(self.names.len()))?;
        let relative = |names: &[&[u8]]| names.iter().map(|name| OsStr::from_bytes(name)).collect::<PathBuf>();
        let path = relative(path);
        Some(Below {
            within: (!within.is_empty()).then(|| relative(within)),
            // The directory itself: one, and said to be one when it is opened.
            path: if path.as_os_str().is_empty() { PathBuf::from(".") } else { path },
        })
    }

    /// Opens a file beneath the directory `within` beneath the root. Never blocks on a FIFO without a writer, never makes a
    /// terminal ours.
    pub(crate) fn open_file(&self, place: &Below) -> io::Result<File> {
        let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
        let mut options = OpenOptions::new();
        options.read(true).custom_flags(flags.bits().cast_signed());
        let open = |directory: &Dir| directory.open_with(&place.path, &options).map(cap_std::fs::File::into_std);
        match &place.within {
            None => open(&self.directory),
            Some(within) => open(&self.directory.open_dir(within)?),
        }
    }

    /// Opens a directory likewise, to read its names.
    pub(crate) fn open_directory(&self, place: &Below) -> io::Result<OwnedFd> {
        let found = match &place.within {
            None => self.directory.open_dir(&place.path)?,
            Some(within) => self.directory.open_dir(within)?.open_dir(&place.path)?,
        };
        // That was only found, by `O_PATH`.
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(openat(found, ".", flags, Mode::empty())?)
    }
}

/// What lies below a root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Below {
    /// The directory below the root that nothing may lead out of; `None`: the root.
    pub(crate) within: Option<PathBuf>,
    /// The path from there.
    pub(crate) path: PathBuf,
}
