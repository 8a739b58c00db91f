//! Reading a file that is small.

use std::{
    fs::File,
    io::{self, ErrorKind, Read as _},
    path::Path,
};

use rustix::{
    fs::{CWD, FileType, Mode, OFlags, Stat, fstat, openat, stat},
    io::Errno,
};

use super::{
    disk::{ask_disk, must_wait, read_now},
    inputs::SmallInputs,
};

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

/// Reads all of a file that was just opened, if it is a small regular file, behind the other inputs, which must have room
/// for [`SMALL_BYTES`] and one. What is there is what is read: that a file grows or shrinks meanwhile is no error, as for
/// coreutils. If its bytes are not in memory, `waits` is called before they are waited for.
pub(super) fn read_small(file: File, inputs: &mut SmallInputs, waits: impl FnOnce()) -> io::Result<Opened> {
    let now = read_now(&file, &mut inputs.room()[..=SMALL_BYTES], Some(0));
    if let Ok(bytes) = &now
        && ends_behind(*bytes)
    {
        inputs.keep(*bytes);
        return Ok(Opened::Small);
    }
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
    // Not every file system can say what is in memory.
    let unsupported = now.is_err_and(|error| error.kind() == ErrorKind::Unsupported);
    let mut waits = (!unsupported).then_some(waits);
    loop {
        // One byte more than it should have: then a short read is the end, without another.
        let most = room.len().min(if filled < size { size + 1 } else { SMALL_BYTES + 1 });
        let room = &mut room[filled..most];
        let read = if waits.is_some() { read_now(&file, room, None) } else { (&file).read(room) };
        match read {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if must_wait(&error) && waits.is_some() => {
                waits.take().into_iter().for_each(|waits| waits());
            }
            // What is wrong, or that it has become shorter, is said by a read that waits.
            Err(_) if waits.is_some() => waits = None,
            Ok(0) if waits.is_some() && filled < size => waits = None,
            Err(error) => return Err(error),
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

/// True if a first read that did not wait, of so many bytes, has read a small regular file to its end: nobody need ask then what
/// it is and how long. What is in memory without the bytes behind it ends with a block of the file system, whose length is a
/// multiple of 512, and so does a disk. Pipes and terminals cannot be read at an offset, files that the kernel makes up not without
/// waiting, and `/dev/zero` and its like fill what is to be read.
fn ends_behind(bytes: usize) -> bool {
    bytes <= SMALL_BYTES && !bytes.is_multiple_of(512)
}

/// Has the disk read small files that will be read soon, all at once: one after another would leave it idle in between. What is no
/// regular file is not touched, for opening it may do something. Returns how many were asked for.
pub(super) fn ask_for<'a>(paths: impl Iterator<Item = &'a Path>) -> usize {
    let small = |stat: &Stat| {
        FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
            && usize::try_from(stat.st_size).is_ok_and(|size| size <= SMALL_BYTES)
    };
    // It does not wait, should the file have become a pipe by now.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let asked = |path| openat(CWD, path, flags, Mode::empty()).is_ok_and(|file| ask_disk(&file, 0, None));
    // Whoever reads it says what is wrong with it.
    paths.filter(|path| stat(*path).is_ok_and(|stat| small(&stat)) && asked(*path)).count()
}
