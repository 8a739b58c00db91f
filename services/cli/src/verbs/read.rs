//! Reading a whole file that may change meanwhile.

use std::{
    fs::{File, Metadata, OpenOptions},
    io::{self, Read as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::Path,
};

use super::walk::Kind;

/// Why a file's bytes cannot be sent.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReadError {
    /// There is none.
    #[error("no such file")]
    Missing,
    #[error("cannot be read: {0}")]
    Io(#[source] io::Error),
    #[error("{}", .0.not_regular())]
    NotRegular(Kind),
    #[error("changed while it was read")]
    Changed,
    /// More bytes than asked for: how many there are.
    #[error("has {0} bytes")]
    TooLarge(u64),
}

impl From<io::Error> for ReadError {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::NotFound { Self::Missing } else { Self::Io(error) }
    }
}

/// Reads a regular file of at most `limit` bytes into `content`, which is replaced. `follow` says whether the last part of
/// the path may be a symbolic link.
pub(super) fn read_file(path: &Path, follow: bool, limit: usize, content: &mut Vec<u8>) -> Result<(), ReadError> {
    let mut file = open(path, follow)?;
    let before = file.metadata()?;
    if !before.is_file() {
        return Err(ReadError::NotRegular(Kind::of(before.file_type())));
    }
    if before.len() > limit as u64 {
        return Err(ReadError::TooLarge(before.len()));
    }
    content.clear();
    // One byte more than allowed, to see a file that grows, or that says 0 and has content (/proc).
    file.by_ref().take(limit as u64 + 1).read_to_end(content)?;
    let after = file.metadata()?;
    let length_differs = before.len() != 0 && content.len() as u64 != before.len();
    if stamp(&before) != stamp(&after) || length_differs {
        return Err(ReadError::Changed);
    }
    if content.len() > limit {
        return Err(ReadError::TooLarge(content.len() as u64));
    }
    Ok(())
}

/// What a regular file was when it was opened.
#[derive(Debug)]
pub(super) struct Unchanged([i64; 5]);

impl Unchanged {
    /// Opens a regular file of any size.
    pub(super) fn open(path: &Path, follow: bool) -> Result<(File, Self), ReadError> {
        let file = open(path, follow)?;
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(ReadError::NotRegular(Kind::of(metadata.file_type())));
        }
        Ok((file, Self(stamp(&metadata))))
    }

    /// Whether it is still the same.
    pub(super) fn check(&self, file: &File) -> Result<(), ReadError> {
        if stamp(&file.metadata()?) == self.0 { Ok(()) } else { Err(ReadError::Changed) }
    }
}

/// What was a file when it was found may be a FIFO now, whose opening would wait for ever.
fn open(path: &Path, follow: bool) -> io::Result<File> {
    let flags = libc::O_NONBLOCK | if follow { 0 } else { libc::O_NOFOLLOW };
    OpenOptions::new().read(true).custom_flags(flags).open(path)
}

/// What changes when a file is written or replaced.
fn stamp(metadata: &Metadata) -> [i64; 5] {
    let size = i64::try_from(metadata.size()).unwrap_or(i64::MAX);
    [size, metadata.mtime(), metadata.mtime_nsec(), metadata.ctime(), metadata.ctime_nsec()]
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use super::*;

    fn read(path: &Path, follow: bool, limit: usize) -> Result<Vec<u8>, ReadError> {
        let mut content = b"from before".to_vec();
        read_file(path, follow, limit, &mut content).map(|()| content)
    }

    #[test]
    fn a_file_is_read_up_to_the_limit_and_not_beyond() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x");
        fs::write(&path, b"12345").unwrap();
        assert_eq!(read(&path, false, 5).unwrap(), b"12345");
        assert!(matches!(read(&path, false, 4), Err(ReadError::TooLarge(5))));
        fs::write(&path, b"").unwrap();
        assert_eq!(read(&path, false, 0).unwrap(), b"");
    }

    #[test]
    fn only_regular_files_are_read_and_links_only_if_they_may_be_followed() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("x"), b"1").unwrap();
        let link = directory.path().join("link");
        symlink("x", &link).unwrap();
        assert_eq!(read(&link, true, 9).unwrap(), b"1");
        assert!(matches!(read(&link, false, 9), Err(ReadError::Io(_))));
        assert!(matches!(read(directory.path(), true, 9), Err(ReadError::NotRegular(Kind::Directory))));
        assert!(matches!(read(&directory.path().join("none"), true, 9), Err(ReadError::Missing)));
        assert!(matches!(read(Path::new("/dev/null"), true, 9), Err(ReadError::NotRegular(Kind::CharacterDevice))));
    }

    #[test]
    fn a_file_that_says_nothing_of_its_length_is_read_as_it_is() {
        let status = read(Path::new("/proc/version"), false, 4096).unwrap();
        assert!(!status.is_empty());
    }
}
