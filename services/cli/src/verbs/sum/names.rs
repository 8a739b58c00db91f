//! The files that are named: as arguments, or in a file; those below directories, if these are walked.

use std::{
    ffi::OsString,
    fs::File,
    io::{self, BufRead, BufReader},
    os::unix::ffi::{OsStrExt as _, OsStringExt as _},
    path::PathBuf,
    vec,
};

use super::talk::said;
use crate::verbs::walk::{Walk, What};

/// A longer name is none: the system's own limit is 4,096.
const MAX_NAME_BYTES: u64 = 64 * 1024;

/// What is named.
#[derive(Debug)]
pub(super) enum Named {
    /// `-` is standard input.
    File(PathBuf),
    /// It cannot be read, or is none: a whole sentence.
    Wrong(String),
    /// The same, of a name.
    Trouble(PathBuf, String),
    /// Left out, and rightly so.
    LeftOut(PathBuf, &'static str),
}

/// Gives what is named, in order.
#[derive(Debug)]
pub(super) struct Names {
    source: Source,
    /// Directories are walked.
    recursive: bool,
    walk: Option<Walk>,
}

enum Source {
    Arguments(vec::IntoIter<PathBuf>),
    /// Names that end with NUL.
    List {
        /// As messages name it.
        list: PathBuf,
        names: Box<dyn BufRead + Send>,
        number: u64,
    },
    Ended,
}

impl std::fmt::Debug for Source {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::Arguments(_) => "Arguments",
            Self::List { .. } => "List",
            Self::Ended => "Ended",
        })
    }
}

impl Names {
    /// Those given, or standard input.
    pub(super) fn of_arguments(mut paths: Vec<PathBuf>, recursive: bool) -> Self {
        if paths.is_empty() {
            paths.push(PathBuf::from("-"));
        }
        Self { source: Source::Arguments(paths.into_iter()), recursive, walk: None }
    }

    /// Those in the file `list`; `-` is standard input.
    pub(super) fn of_list(list: PathBuf, recursive: bool) -> io::Result<Self> {
        let names: Box<dyn BufRead + Send> = match list.as_os_str() == "-" {
            true => Box::new(BufReader::new(io::stdin())),
            false => Box::new(BufReader::new(File::open(&list)?)),
        };
        Ok(Self { source: Source::List { list, names, number: 0 }, recursive, walk: None })
    }

    fn next_named(&mut self) -> Option<Named> {
        let (list, names, number) = match &mut self.source {
            Source::Ended => return None,
            Source::Arguments(paths) => return paths.next().map(Named::File),
            Source::List { list, names, number } => (list, names, number),
        };
        *number += 1;
        let shown = |what: &str| format!("{}:{number}: {what}", list.display());
        let mut name = Vec::new();
        let read = io::Read::take(names, MAX_NAME_BYTES).read_until(0, &mut name);
        if name.last() == Some(&0) {
            name.pop();
        } else if name.len() as u64 == MAX_NAME_BYTES {
            let text = shown("a file name that is too long");
            self.source = Source::Ended;
            return Some(Named::Wrong(text));
        }
        match read {
            Ok(0) => None,
            Ok(_) if name.is_empty() => Some(Named::Wrong(shown("invalid zero-length file name"))),
            Ok(_) if name == b"-" && list.as_os_str() == "-" => {
                Some(Named::Wrong("when reading file names from stdin, no file name of '-' allowed".to_owned()))
            }
            Ok(_) => Some(Named::File(PathBuf::from(OsString::from_vec(name)))),
            Err(error) => {
                let trouble = Named::Trouble(list.clone(), format!("read error: {}", said(&error)));
                self.source = Source::Ended;
                Some(trouble)
            }
        }
    }
}

impl Iterator for Names {
    type Item = Named;

    fn next(&mut self) -> Option<Named> {
        loop {
            if let Some(walk) = &mut self.walk {
                if let Some(found) = walk.next() {
                    return Some(match found.what {
                        What::File { .. } => Named::File(found.path),
                        What::LeftOut(why) => Named::LeftOut(found.path, why),
                        What::Trouble(why) => Named::Trouble(found.path, why),
                    });
                }
                self.walk = None;
            }
            match self.next_named()? {
                Named::File(path) if self.recursive && path.as_os_str().as_bytes() != b"-" && path.is_dir() => {
                    self.walk = Some(Walk::new(path));
                }
                named => return Some(named),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::*;

    fn shown(names: Names) -> Vec<String> {
        names
            .map(|named| match named {
                Named::File(path) => path.display().to_string(),
                Named::Wrong(text) => format!("WRONG {text}"),
                Named::Trouble(path, text) => format!("TROUBLE {}: {text}", path.display()),
                Named::LeftOut(path, text) => format!("LEFT OUT {}: {text}", path.display()),
            })
            .collect()
    }

    #[test]
    fn names_are_given_as_they_came_and_directories_are_walked_if_asked() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("d");
        fs::create_dir(&root).unwrap();
        for name in ["b", "a"] {
            fs::write(root.join(name), "").unwrap();
        }
        std::os::unix::fs::symlink("a", root.join("c")).unwrap();
        let text = |path: &Path| path.display().to_string();
        let paths = vec![PathBuf::from("z"), root.clone(), PathBuf::from("-")];
        assert_eq!(shown(Names::of_arguments(paths.clone(), false)), ["z", &text(&root), "-"]);
        let link = format!("LEFT OUT {}: is a symbolic link and was not followed", text(&root.join("c")));
        let walked = ["z", &text(&root.join("a")), &text(&root.join("b")), &link, "-"];
        assert_eq!(shown(Names::of_arguments(paths, true)), walked);
        assert_eq!(shown(Names::of_arguments(Vec::new(), true)), ["-"]);
    }

    #[test]
    fn a_list_has_names_that_end_with_nul_and_bad_ones_are_told_by_number() {
        let directory = tempfile::tempdir().unwrap();
        let list = directory.path().join("list");
        fs::write(&list, "a\0\0-\0new\nline").unwrap();
        let wrong = format!("WRONG {}:2: invalid zero-length file name", list.display());
        assert_eq!(shown(Names::of_list(list.clone(), false).unwrap()), ["a", &wrong, "-", "new\nline"]);
        fs::write(&list, "x".repeat(70_000)).unwrap();
        assert!(shown(Names::of_list(list.clone(), false).unwrap())[0].ends_with("too long"));
        Names::of_list(directory.path().join("none"), false).unwrap_err();
    }
}
