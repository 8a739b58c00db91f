//! What there is to hash below the paths that the user named.
//!
//! Directories are walked depth first, each in byte order of its names, so that the same tree always gives the same order.
//! A path that the user named is followed if it is a symbolic link, as `sha256sum` does; links found on the way are not,
//! as in `find -type f`: each is noted, and one that dangles or loops is a failure. Everything else that is not a regular
//! file is a failure too: whoever asks for a tree must hear what is not in the manifest.

mod entries;
mod kind;

use std::{
    ffi::OsString,
    io,
    os::unix::ffi::{OsStrExt as _, OsStringExt as _},
    path::{Path, PathBuf},
};

use self::entries::{Entries, SPILL_BYTES};
pub(super) use self::kind::Kind;

/// Something found.
#[derive(Debug)]
pub(super) struct Found {
    /// The path as given, joined with the names below: also the name in the manifest.
    pub(super) path: PathBuf,
    pub(super) what: What,
}

/// What was found.
#[derive(Debug)]
pub(super) enum What {
    /// A regular file; `named` if it is a path that the user named, which may be a symbolic link.
    File { named: bool },
    /// Not hashed, and rightly so.
    LeftOut(&'static str),
    /// Not hashed, and the user must know.
    Trouble(String),
}

/// The files below one path, in order.
#[derive(Debug)]
pub(super) struct Walk {
    start: Option<PathBuf>,
    /// The directories that are being walked, the innermost last.
    levels: Vec<Level>,
}

#[derive(Debug)]
struct Level {
    path: PathBuf,
    entries: Entries,
}

impl Walk {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { start: Some(path), levels: Vec::new() }
    }

    fn begin(&mut self, path: PathBuf) -> Option<Found> {
        let what = match std::fs::metadata(&path) {
            Ok(metadata) if metadata.is_dir() => return self.enter(path),
            Ok(metadata) if metadata.is_file() => What::File { named: true },
            Ok(metadata) => What::Trouble(Kind::of(metadata.file_type()).not_regular()),
            Err(error) => What::Trouble(broken(&path, &error)),
        };
        Some(Found { path, what })
    }

    fn enter(&mut self, path: PathBuf) -> Option<Found> {
        match Entries::read(&path, SPILL_BYTES) {
            Ok(entries) => {
                self.levels.push(Level { path, entries });
                None
            }
            Err(error) => Some(Found { path, what: What::Trouble(format!("cannot read the directory: {error}")) }),
        }
    }

    fn look(&mut self, path: PathBuf, kind: Kind) -> Option<Found> {
        let what = match kind {
            Kind::Directory => return self.enter(path),
            Kind::File => What::File { named: false },
            Kind::Link => match std::fs::metadata(&path) {
                Ok(_) => What::LeftOut("is a symbolic link and was not followed"),
                Err(error) => What::Trouble(broken(&path, &error)),
            },
            other => What::Trouble(other.not_regular()),
        };
        Some(Found { path, what })
    }
}

impl Iterator for Walk {
    type Item = Found;

    fn next(&mut self) -> Option<Found> {
        if let Some(start) = self.start.take()
            && let Some(found) = self.begin(start)
        {
            return Some(found);
        }
        loop {
            let level = self.levels.last_mut()?;
            let found = match level.entries.next() {
                None => {
                    self.levels.pop();
                    continue;
                }
                Some(Ok((name, kind))) => {
                    let path = join(&level.path, &name);
                    self.look(path, kind)
                }
                Some(Err(error)) => {
                    let path = level.path.clone();
                    self.levels.pop();
                    Some(Found { path, what: What::Trouble(format!("cannot read the directory: {error}")) })
                }
            };
            if found.is_some() {
                return found;
            }
        }
    }
}

/// `directory/name`, without normalising what the user typed.
fn join(directory: &Path, name: &[u8]) -> PathBuf {
    let mut path = directory.as_os_str().as_bytes().to_vec();
    if path.last() != Some(&b'/') {
        path.push(b'/');
    }
    path.extend_from_slice(name);
    PathBuf::from(OsString::from_vec(path))
}

/// Why a path leads nowhere.
fn broken(path: &Path, error: &io::Error) -> String {
    let link = std::fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_symlink());
    match error.raw_os_error() {
        Some(libc::ENOENT) if link => "is a dangling symbolic link".to_owned(),
        Some(libc::ELOOP) => "is a looping symbolic link".to_owned(),
        _ => format!("cannot be read: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        os::unix::{fs::symlink, net::UnixListener},
    };

    use super::*;

    fn listing(path: &Path) -> Vec<String> {
        Walk::new(path.to_owned())
            .map(|found| {
                let name = found.path.strip_prefix(path).unwrap().to_string_lossy().into_owned();
                match found.what {
                    What::File { named } => format!("{name}: file, named {named}"),
                    What::LeftOut(what) => format!("{name}: {what}"),
                    What::Trouble(what) => format!("{name}: TROUBLE {what}"),
                }
            })
            .collect()
    }

    #[test]
    fn a_tree_is_walked_in_byte_order_and_everything_that_is_no_file_is_told() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        fs::create_dir(root.join("b")).unwrap();
        for name in ["b/2", "b/10", "a", "B", "b.x", "-dash", "new\nline"] {
            fs::write(root.join(name), name).unwrap();
        }
        symlink("a", root.join("link")).unwrap();
        symlink("b", root.join("link-to-directory")).unwrap();
        symlink("nowhere", root.join("dangling")).unwrap();
        symlink("loop", root.join("loop")).unwrap();
        let _socket = UnixListener::bind(root.join("socket")).unwrap();
        assert_eq!(
            listing(root),
            [
                "-dash: file, named false",
                "B: file, named false",
                "a: file, named false",
                "b/10: file, named false",
                "b/2: file, named false",
                "b.x: file, named false",
                "dangling: TROUBLE is a dangling symbolic link",
                "link: is a symbolic link and was not followed",
                "link-to-directory: is a symbolic link and was not followed",
                "loop: TROUBLE is a looping symbolic link",
                "new\nline: file, named false",
                "socket: TROUBLE is a socket, not a regular file",
            ]
        );
    }

    #[test]
    fn a_path_that_the_user_named_is_followed() {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("real")).unwrap();
        fs::write(directory.path().join("real/x"), "").unwrap();
        symlink("real", directory.path().join("link")).unwrap();
        assert_eq!(listing(&directory.path().join("link")), ["x: file, named false"]);
        assert_eq!(listing(&directory.path().join("real/x")), [": file, named true"]);
        assert_eq!(listing(&directory.path().join("none")).len(), 1);
    }

    #[test]
    fn names_are_joined_to_what_was_typed() {
        assert_eq!(join(Path::new("."), b"a"), Path::new("./a"));
        assert_eq!(join(Path::new("dir//"), b"a").as_os_str(), "dir//a");
        assert_eq!(join(Path::new("/"), b"a").as_os_str(), "/a");
    }
}
