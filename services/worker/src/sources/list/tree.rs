//! The files below a directory, in byte order of their paths.
//!
//! Every directory is opened by its name beneath the one before and never through a symbolic link, so that nothing leads out of
//! the tree whatever happens to it meanwhile. Of a directory the [`NAMES`] next names are held, not all of them.

use std::{
    collections::{BinaryHeap, VecDeque},
    io,
    os::fd::OwnedFd,
};

use hashmesh::tasks::file_uri;
use rustix::{
    fs::{AtFlags, Dir, FileType, Mode, OFlags, openat, statat},
    io::Errno,
};

use super::{Page, PageTime, PushError};
use crate::sources::Failure;

/// Names of one directory that are held at once: it is read again for each so many.
const NAMES: usize = 8 * 1024;

/// Adds to a page what lies below `directory`, whose path (with `/` at its end) is `path`, behind the page's cursor: a path
/// below it. That of a directory ends with `/` and stands for all that is in it.
pub(super) fn list(directory: OwnedFd, path: &[u8], page: &mut Page, time: PageTime) -> Result<(), Failure> {
    let mut walk = Walk::resume(directory, page.cursor(), NAMES);
    while let Some(found) = walk.next().map_err(|error| Failure::from_read(&error))? {
        let below = match found {
            Found::Object(below) => {
                let uri = file_uri(&[path, &below].concat());
                match page.push(&uri, &below) {
                    Ok(()) => below,
                    Err(PushError::Full) => return Ok(()),
                    Err(PushError::Failed(failure)) => return Err(failure),
                }
            }
            Found::Nothing(below) => below,
        };
        page.pass(&below);
        if time.is_up() {
            return Ok(());
        }
    }
    page.ends();
    Ok(())
}

/// Something that was looked at, by its path below the start.
#[derive(Debug)]
enum Found {
    /// A file, a link, or what cannot be read: its task says what it leads to, or why it cannot.
    Object(Vec<u8>),
    /// The end of a directory, or what was gone before it was looked at.
    Nothing(Vec<u8>),
}

/// A walk in byte order.
#[derive(Debug)]
struct Walk {
    levels: Vec<Level>,
    /// The names of the path behind which it begins, while it is on the way there.
    resume: Option<Vec<Vec<u8>>>,
    /// Names of one directory that are held at once.
    held: usize,
}

/// A directory on the way.
#[derive(Debug)]
struct Level {
    directory: OwnedFd,
    path: Vec<u8>,
    names: VecDeque<Name>,
    /// Where names are read from: behind this one, or from it on. `None`: from the first.
    from: Option<(Vec<u8>, bool)>,
    /// There are names behind those that are held.
    more: bool,
}

/// A name, ordered as the paths below it: a directory's ends with `/`.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Name {
    key: Vec<u8>,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Directory,
    /// Files, links, and what is neither: whoever reads it will say so.
    Other,
}

impl Walk {
    /// From behind `cursor` on.
    fn resume(directory: OwnedFd, cursor: &[u8], held: usize) -> Self {
        let names: Vec<Vec<u8>> = cursor.split_inclusive(|byte| *byte == b'/').map(<[u8]>::to_vec).collect();
        let resume = Some(names).filter(|names| !names.is_empty());
        let from = resume.as_ref().map(|names| (names[0].clone(), names.len() > 1));
        Self { levels: vec![Level::new(directory, Vec::new(), from)], resume, held }
    }

    fn next(&mut self) -> io::Result<Option<Found>> {
        loop {
            let depth = self.levels.len();
            let Some(level) = self.levels.last_mut() else { return Ok(None) };
            let Some(name) = level.next(self.held)? else {
                self.resume = None;
                let done = self.levels.pop().map(|level| level.path).unwrap_or_default();
                if done.is_empty() {
                    return Ok(None);
                }
                return Ok(Some(Found::Nothing(done)));
            };
            // Only the first name of a level can be on the way.
            let next = self.resume.take_if(|names| depth >= names.len() || names[depth - 1] != name.key);
            drop(next);
            let below = [&level.path[..], &name.key].concat();
            match name.kind {
                Kind::Other => return Ok(Some(Found::Object(below))),
                Kind::Directory => match level.open(&name) {
                    Ok(directory) => {
                        let from = self.resume.as_ref().map(|names| (names[depth].clone(), depth + 1 < names.len()));
                        self.levels.push(Level::new(directory, below, from));
                    }
                    Err(Errno::ACCESS | Errno::PERM) => return Ok(Some(Found::Object(below))),
                    // It is gone, or something else by now.
                    Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(Some(Found::Nothing(below))),
                    Err(errno) => return Err(errno.into()),
                },
            }
        }
    }
}

impl Level {
    fn new(directory: OwnedFd, path: Vec<u8>, from: Option<(Vec<u8>, bool)>) -> Self {
        Self { directory, path, names: VecDeque::new(), from, more: true }
    }

    fn next(&mut self, held: usize) -> io::Result<Option<Name>> {
        if self.names.is_empty() && self.more {
            self.read(held)?;
        }
        let name = self.names.pop_front();
        if let Some(name) = &name
            && self.names.is_empty()
        {
            self.from = Some((name.key.clone(), false));
        }
        Ok(name)
    }

    /// Reads the next names: the smallest that are not behind us.
    fn read(&mut self, held: usize) -> io::Result<()> {
        let mut smallest = BinaryHeap::new();
        self.more = false;
        for entry in Dir::read_from(&self.directory)? {
            let entry = entry?;
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            let mut file_type = entry.file_type();
            if file_type == FileType::Unknown {
                // Not every file system tells.
                file_type = match statat(&self.directory, name, AtFlags::SYMLINK_NOFOLLOW) {
                    Ok(stat) => FileType::from_raw_mode(stat.st_mode),
                    Err(Errno::NOENT) => continue,
                    Err(errno) => return Err(errno.into()),
                };
            }
            let name = Name::new(name.to_bytes(), file_type);
            let behind = self.from.as_ref().is_some_and(
                |(from, included)| {
                    if *included { name.key < *from } else { name.key <= *from }
                },
            );
            if behind {
                continue;
            }
            smallest.push(name);
            if smallest.len() > held {
                smallest.pop();
                self.more = true;
            }
        }
        self.names = smallest.into_sorted_vec().into();
        Ok(())
    }

    fn open(&self, name: &Name) -> Result<OwnedFd, Errno> {
        let plain = name.key.strip_suffix(b"/").unwrap_or(&name.key);
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        openat(&self.directory, plain, flags, Mode::empty())
    }
}

impl Name {
    fn new(name: &[u8], file_type: FileType) -> Self {
        let mut key = name.to_vec();
        let kind = match file_type {
            FileType::Directory => {
                key.push(b'/');
                Kind::Directory
            }
            _ => Kind::Other,
        };
        Self { key, kind }
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, ffi::OsStr, fs, os::unix::ffi::OsStrExt as _, path::Path};

    use proptest::prelude::*;

    use super::*;

    fn start(directory: &Path) -> OwnedFd {
        fs::File::open(directory).unwrap().into()
    }

    /// All that a walk finds, taken up anew from its cursor after every `steps` steps.
    fn walked(directory: &Path, steps: usize, held: usize) -> Vec<Vec<u8>> {
        let (mut cursor, mut found, mut walks) = (Vec::new(), Vec::new(), 0);
        'again: loop {
            walks += 1;
            assert!(walks < 10_000, "it does not come to an end");
            let mut walk = Walk::resume(start(directory), &cursor, held);
            for _ in 0..steps {
                match walk.next().unwrap() {
                    None => break 'again,
                    Some(Found::Object(below)) => {
                        found.push(below.clone());
                        cursor = below;
                    }
                    Some(Found::Nothing(below)) => cursor = below,
                }
            }
        }
        found
    }

    fn make(directory: &Path, paths: &BTreeSet<Vec<u8>>) -> BTreeSet<Vec<u8>> {
        let mut made = BTreeSet::new();
        for path in paths {
            let file = directory.join(OsStr::from_bytes(path));
            let parent = file.parent().unwrap();
            // A file may stand where a directory is wanted.
            if fs::create_dir_all(parent).is_ok() && !file.is_dir() && fs::write(&file, path).is_ok() {
                made.insert(path.clone());
            }
        }
        made
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn a_walk_finds_every_file_once_in_byte_order_however_often_it_is_interrupted(
            paths in prop::collection::btree_set("[a-c\\-\u{7f}é]{1,2}(/[a-c\\-]{1,2}){0,3}", 0..40),
            steps in 1_usize..12,
            held in 1_usize..6,
        ) {
            let directory = tempfile::tempdir().unwrap();
            let paths = paths.into_iter().map(String::into_bytes).collect();
            let made = make(directory.path(), &paths);
            prop_assert_eq!(walked(directory.path(), steps, held), made.into_iter().collect::<Vec<_>>());
        }
    }

    #[test]
    fn nothing_is_left_out_and_no_link_is_walked_into() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        fs::create_dir_all(root.join("empty/within")).unwrap();
        fs::write(root.join("file"), "x").unwrap();
        std::os::unix::fs::symlink("/etc", root.join("etc")).unwrap();
        std::os::unix::fs::symlink("file", root.join("link")).unwrap();
        let _listener = std::os::unix::net::UnixListener::bind(root.join("socket")).unwrap();
        assert_eq!(walked(root, 1, 1), [&b"etc"[..], b"file", b"link", b"socket"]);
    }

    #[test]
    fn a_cursor_into_what_is_gone_goes_on_behind_it() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        for path in ["a/1", "b/1", "b/c/2", "d"] {
            fs::create_dir_all(root.join(path).parent().unwrap()).unwrap();
            fs::write(root.join(path), "x").unwrap();
        }
        let after = |cursor: &[u8]| -> Vec<Vec<u8>> {
            let mut walk = Walk::resume(start(root), cursor, 10);
            let next = || walk.next().unwrap();
            let object = |found| if let Found::Object(below) = found { Some(below) } else { None };
            std::iter::from_fn(next).filter_map(object).collect()
        };
        assert_eq!(after(b"b/0/x/y"), [&b"b/1"[..], b"b/c/2", b"d"]);
        assert_eq!(after(b"b/c/9"), [b"d"]);
        assert_eq!(after(b"b/c/"), [b"d"]);
        assert_eq!(after(b"a/1/x"), [&b"b/1"[..], b"b/c/2", b"d"], "a directory when it was listed");
        assert_eq!(after(b"zz/1"), Vec::<Vec<u8>>::new());
    }
}
