//! Opening, with an error that names the file.

use std::{
    ffi::CStr,
    fs::File,
    io,
    os::fd::{AsRawFd as _, FromRawFd as _, RawFd},
};

use crate::{Item, Tree};

pub(crate) fn open(item: &Item, flags: i32) -> io::Result<File> {
    at(libc::AT_FDCWD, &item.path, flags)
}

/// By its name in its directory.
pub(crate) fn open_at(tree: &Tree, item: &Item) -> io::Result<File> {
    at(tree.directories[item.directory].as_raw_fd(), &item.name, 0)
}

fn at(directory: RawFd, name: &CStr, flags: i32) -> io::Result<File> {
    // SAFETY: the name ends with a zero.
    let file = unsafe { libc::openat(directory, name.as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC | flags) };
    if file < 0 {
        let error = io::Error::last_os_error();
        return Err(io::Error::new(error.kind(), format!("{}: {error}", name.to_string_lossy())));
    }
    // SAFETY: it is open, and nobody else's.
    Ok(unsafe { File::from_raw_fd(file) })
}
