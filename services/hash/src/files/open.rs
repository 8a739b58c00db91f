//! Opening files.

use std::{
    ffi::OsStr,
    fs::File,
    io,
    os::{fd::OwnedFd, unix::ffi::OsStrExt as _},
    path::Path,
};

use rustix::fs::{CWD, Mode, OFlags, openat};

const FLAGS: OFlags = OFlags::RDONLY.union(OFlags::CLOEXEC);

/// Opens what is at `path`, waiting for a pipe's writer.
pub(super) fn open(path: &Path) -> io::Result<File> {
    Ok(File::from(openat(CWD, path, FLAGS, Mode::empty())?))
}

/// Opens files one after another: the directory of those that lie beside each other is looked up once and not for each. It is kept
/// for few files only, since another directory may take its name.
#[derive(Debug, Default)]
pub(super) struct Neighbours {
    /// Of the last file, with the `/` behind it.
    directory: Vec<u8>,
    /// None: the last file was the first of its directory, or this cannot be opened.
    opened: Option<OwnedFd>,
}

impl Neighbours {
    /// As [`open`].
    pub(super) fn open(&mut self, path: &Path) -> io::Result<File> {
        let bytes = path.as_os_str().as_bytes();
        let behind = bytes.iter().rposition(|byte| *byte == b'/').map_or(0, |slash| slash + 1);
        let (directory, name) = bytes.split_at(behind);
        if directory.is_empty() || name.is_empty() {
            return open(path);
        }
        if directory != self.directory {
            self.directory.clear();
            self.directory.extend_from_slice(directory);
            self.opened = None;
            return open(path);
        }
        if self.opened.is_none() {
            self.opened = openat(CWD, OsStr::from_bytes(directory), DIRECTORY, Mode::empty()).ok();
        }
        let opened = self.opened.as_ref().and_then(|directory| openat(directory, name, FLAGS, Mode::empty()).ok());
        // What is wrong is said of the whole path.
        opened.map_or_else(|| open(path), |file| Ok(File::from(file)))
    }
}

/// Whoever may look up names in a directory need not be allowed to read it.
#[cfg(target_os = "linux")]
const DIRECTORY: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);
#[cfg(not(target_os = "linux"))]
const DIRECTORY: OFlags = OFlags::DIRECTORY.union(FLAGS);

#[cfg(test)]
mod tests {
    use std::{fs, io::Read as _};

    use super::*;

    fn read(neighbours: &mut Neighbours, path: &Path) -> Result<String, io::ErrorKind> {
        let mut content = String::new();
        let mut file = neighbours.open(path).map_err(|error| error.kind())?;
        file.read_to_string(&mut content).map_err(|error| error.kind())?;
        Ok(content)
    }

    #[test]
    fn files_of_several_directories_are_those_of_their_paths_in_any_order() {
        let directory = tempfile::tempdir().unwrap();
        let names = ["a/1", "a/2", "a/3", "b/1", "b/2", "a/1", "b/2", "1", "2", "b/3", "a/b/1", "a/b/2"];
        fs::create_dir_all(directory.path().join("a/b")).unwrap();
        fs::create_dir(directory.path().join("b")).unwrap();
        for name in names {
            fs::write(directory.path().join(name), name).unwrap();
        }
        let mut neighbours = Neighbours::default();
        for name in names {
            assert_eq!(read(&mut neighbours, &directory.path().join(name)).as_deref(), Ok(name));
        }
        assert_eq!(read(&mut neighbours, &directory.path().join("a/b/../2")).as_deref(), Ok("a/2"));
        assert_eq!(read(&mut neighbours, &directory.path().join("a/b/../3")).as_deref(), Ok("a/3"));
    }

    #[test]
    fn a_directory_that_came_in_place_of_another_has_the_files_that_the_other_has_not() {
        let directory = tempfile::tempdir().unwrap();
        let (now, moved) = (directory.path().join("now"), directory.path().join("moved"));
        fs::create_dir(&now).unwrap();
        for name in ["1", "2"] {
            fs::write(now.join(name), name).unwrap();
        }
        let mut neighbours = Neighbours::default();
        for name in ["1", "2"] {
            assert_eq!(read(&mut neighbours, &now.join(name)).as_deref(), Ok(name));
        }
        fs::rename(&now, &moved).unwrap();
        assert_eq!(read(&mut neighbours, &now.join("3")), Err(io::ErrorKind::NotFound));
        fs::create_dir(&now).unwrap();
        fs::write(now.join("3"), "3").unwrap();
        assert_eq!(read(&mut neighbours, &now.join("3")).as_deref(), Ok("3"));
        assert_eq!(read(&mut neighbours, &directory.path().join("none/1")), Err(io::ErrorKind::NotFound));
        assert_eq!(read(&mut neighbours, &directory.path().join("none/2")), Err(io::ErrorKind::NotFound));
        assert_eq!(read(&mut neighbours, &moved), Err(io::ErrorKind::IsADirectory));
    }
}
