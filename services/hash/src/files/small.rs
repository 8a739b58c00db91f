//! Opening a file, and reading it if it is small.

use std::{fs::File, io, path::Path};

use rustix::{
    fs::{CWD, FileType, Mode, OFlags, fstat, openat},
    io::Errno,
};

use super::inputs::SmallInputs;

/// What is larger is read in pieces. A small file is in the CPU's cache when it is digested.
pub(super) const SMALL_BYTES: usize = 64 * 1024;

/// A file that was opened.
#[derive(Debug)]
pub(super) enum Opened {
    /// All of it is among the inputs.
    Small,
    /// A regular file that is to be opened again: so many at a time are few.
    Large,
    /// A pipe, a device: read from here, as opening it again may be something else.
    Stream(File),
}

/// Opens what is at `path` and, if it is a small regular file, reads all of it behind the other inputs, which must have room
/// for [`SMALL_BYTES`] and one. What is there is what is read: that a file grows or shrinks meanwhile is no error, as for
/// coreutils.
pub(super) fn read_small(path: &Path, inputs: &mut SmallInputs) -> io::Result<Opened> {
    let file = open(path)?;
    let stat = fstat(&file)?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => {}
        FileType::Directory => return Err(Errno::ISDIR.into()),
        _ => return Ok(Opened::Stream(file)),
    }
    let Some(size) = usize::try_from(stat.st_size).ok().filter(|size| *size <= SMALL_BYTES) else {
        return Ok(Opened::Large);
    };
    let room = inputs.room();
    let mut filled = 0;
    loop {
        // One byte more than it should have: then a short read is the end, without another.
        let most = room.len().min(if filled < size { size + 1 } else { SMALL_BYTES + 1 });
        match rustix::io::read(&file, &mut room[filled..most]) {
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
            Ok(0) => break,
            Ok(bytes) => {
                filled += bytes;
                if filled == size && filled < most {
                    break;
                }
                if filled > SMALL_BYTES {
                    // It grew, or never said its size, like those of procfs.
                    return Ok(Opened::Large);
                }
            }
        }
    }
    inputs.keep(filled);
    Ok(Opened::Small)
}

/// Opens what is at `path`, waiting for a pipe's writer.
pub(super) fn open(path: &Path) -> io::Result<File> {
    let opened = openat(CWD, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    Ok(File::from(opened))
}
