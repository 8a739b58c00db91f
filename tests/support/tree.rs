//! Directories to digest.

use std::{
    ffi::OsStr,
    fs,
    os::unix::{ffi::OsStrExt as _, fs::PermissionsExt as _},
    path::{Path, PathBuf},
    sync::LazyLock,
};

use super::{cli::program, rundir};

static SHARED_ROOT: LazyLock<PathBuf> = LazyLock::new(|| rundir::directory("sources"));

/// The directory below which the shared mesh's worker may read; tests make their own directories in it.
pub(super) fn shared_root() -> &'static Path {
    &SHARED_ROOT
}

/// Names that are legal and that scripts get wrong.
pub(crate) const HOSTILE_NAMES: &[&[u8]] = &[
    b"plain",
    b"-leading-dash",
    b"--",
    b"two  spaces and a trailing one ",
    b" leading",
    b"new\nline",
    b"carriage\rreturn",
    b"back\\slash",
    b"back\\nslash-n",
    b"\\starts-with-a-backslash",
    b"both\\\n\r",
    b"invalid-utf8-\xff\xfe",
    b"latin1-\xe9",
    b"quote'\"`$(x)",
    b"*?[]",
    b"\x01control\x7f",
    "übergrößenträger-漢字-🦀".as_bytes(),
    b"percent%41%2F",
    b"#hash",
    b"~",
];

/// Below `root`: a file per hostile name, at the top and in a directory whose own name is hostile; empty ones too. Gives
/// each file's path below `root`, and its content.
pub(crate) fn hostile_files(root: &Path) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut files = Vec::new();
    for directory in [&b""[..], b"sub\n\\dir \xff"] {
        let below = root.join(OsStr::from_bytes(directory));
        fs::create_dir_all(&below).expect("a directory");
        for (index, name) in HOSTILE_NAMES.iter().enumerate() {
            // Every third is empty.
            let content = if index % 3 == 2 { Vec::new() } else { [name, &b" content"[..]].concat() };
            fs::write(below.join(OsStr::from_bytes(name)), &content).expect("a file");
            let separator = if directory.is_empty() { &b""[..] } else { b"/" };
            files.push(([directory, separator, name].concat(), content));
        }
    }
    files
}

/// Below `root`: what is no readable regular file. Gives the names.
pub(crate) fn hostile_entries(root: &Path) -> Vec<&'static str> {
    program("mkfifo", [root.join("fifo")]).run_now();
    drop(std::os::unix::net::UnixListener::bind(root.join("socket")).expect("a socket"));
    std::os::unix::fs::symlink("nowhere", root.join("dangling")).expect("a link");
    std::os::unix::fs::symlink("looping", root.join("looping")).expect("a link");
    vec!["fifo", "socket", "dangling", "looping"]
}

/// Makes a file that nobody but root can read.
pub(crate) fn make_unreadable(path: &Path) {
    fs::set_permissions(path, fs::Permissions::from_mode(0o000)).expect("it is ours");
}
