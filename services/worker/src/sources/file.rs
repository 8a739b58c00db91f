//! Reads one open file once, if it is small: behind others that are hashed together.

use std::{
    fs::{File, Metadata},
    io,
    num::NonZeroU64,
    os::unix::fs::{FileExt as _, FileTypeExt as _, MetadataExt as _},
    time::SystemTime,
};

use hashmesh::v1::{ByteRange, ObjectIdentity};
use hashmesh_hash::{SmallInputs, ask_disk, must_wait, read_now};
use prost_types::Timestamp;

use super::{Failure, Found, LargeFile, Read, ReadError, Wanted, state};
use crate::config::SMALL_FILE_BYTES;

/// Follows the reading, and may stop it.
pub(crate) trait Progress {
    /// So many more bytes were read. False: stop.
    fn read(&self, bytes: u64) -> bool;
}

/// Reads what is wanted of the file behind the other inputs, if that is little and they have room for it. If it is the same that is
/// known, its digests are appended to `digests` and nothing is read. The file must be the same before and after. On an error `inputs` and
/// `digests` are as they were. `waits` is called before the disk is waited for.
pub(super) fn read_file(
    file: File,
    wanted: &Wanted<'_>,
    inputs: &mut SmallInputs,
    digests: &mut Vec<u8>,
    progress: &dyn Progress,
    waits: &mut dyn FnMut(),
) -> Result<Found, ReadError> {
    // On the descriptor: what is opened is what is judged, whatever the path names by now.
    let before = file.metadata().map_err(|error| Failure::from_read(&error))?;
    require_regular(&before)?;
    let part = Part::of(wanted.range, before.len())?;
    let state = if wanted.keeps { state::of_file(&file, &before, SystemTime::now()) } else { None };
    if let Some(known) = wanted.known
        && state.as_ref() == Some(&known.state)
    {
        return Ok(Found::Known(Read::nothing(known, digests)));
    }
    let read = Read { hashed_bytes: part.length(), identity: identity(&before), state };
    if part.length() <= SMALL_FILE_BYTES as u64 && part.length() < inputs.room().len() as u64 {
        read_small(&file, part, &before, inputs, progress, waits)?;
        return Ok(Found::Small(read));
    }
    Ok(Found::Large(Box::new(LargeFile { file, part, before, read })))
}

/// Has the disk read what [`read_file`] will want of a small file.
pub(super) fn ask_for(file: &File, range: Option<ByteRange>) {
    let regular = file.metadata().ok().filter(Metadata::is_file);
    let part = regular.and_then(|metadata| Part::of(range, metadata.len()).ok());
    if let Some(part) = part.filter(|part| part.length() <= SMALL_FILE_BYTES as u64) {
        // Who reads it waits a little longer, if it cannot be asked.
        let _asked = ask_disk(file, part.start, NonZeroU64::new(part.length()));
    }
}

pub(super) fn identity(metadata: &Metadata) -> ObjectIdentity {
    // Below a thousand million.
    let modify_time = Timestamp { seconds: metadata.mtime(), nanos: metadata.mtime_nsec() as i32 };
    ObjectIdentity { size: metadata.len(), modify_time: Some(modify_time), ..ObjectIdentity::default() }
}

/// The bytes to hash: from `start` up to, not including, `end`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Part {
    pub(super) start: u64,
    pub(super) end: u64,
    /// `end` is the file's end, so nothing may follow.
    pub(super) to_the_end: bool,
}

impl Part {
    fn of(range: Option<ByteRange>, size: u64) -> Result<Self, Failure> {
        let ByteRange { offset, length } = range.unwrap_or_default();
        let end = if length == 0 { Some(size.max(offset)) } else { offset.checked_add(length) };
        match end {
            Some(end) if end <= size => Ok(Self { start: offset, end, to_the_end: length == 0 }),
            wanted => Err(Failure::too_short(wanted, size)),
        }
    }

    pub(super) fn length(self) -> u64 {
        self.end - self.start
    }
}

/// Fits the room with a byte to spare: read, compared, then kept. If its bytes are not in memory, `waits` is called before they are waited
/// for.
fn read_small(
    file: &File,
    part: Part,
    before: &Metadata,
    inputs: &mut SmallInputs,
    progress: &dyn Progress,
    waits: &mut dyn FnMut(),
) -> Result<(), ReadError> {
    // At most SMALL_FILE_BYTES, hence a usize.
    let length = part.length() as usize;
    // One byte more, if the end matters: some file systems (procfs) say that a file is empty and then it is not.
    let wanted = if part.to_the_end { length + 1 } else { length };
    let room = inputs.room();
    let mut filled = match read_now(file, &mut room[..wanted], Some(part.start)) {
        Ok(bytes) => bytes,
        Err(error) => {
            if must_wait(&error) {
                waits();
            }
            // What else is wrong, the read that waits says.
            0
        }
    };
    // A read that fell short of the byte more has found the end.
    while filled < length.max(1) {
        let bytes = read_at(file, &mut room[filled..wanted], part.start + filled as u64)?;
        if bytes == 0 {
            break;
        }
        filled += bytes;
    }
    if !progress.read(filled as u64) {
        return Err(ReadError::Cancelled);
    }
    if filled != length {
        return Err(Failure::changed("size").into());
    }
    require_unchanged(before, file)?;
    inputs.keep(length);
    Ok(())
}

pub(super) fn read_at(file: &File, buffer: &mut [u8], place: u64) -> Result<usize, Failure> {
    loop {
        match file.read_at(buffer, place) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result.map_err(|error| Failure::from_read(&error)),
        }
    }
}

pub(super) fn require_regular(metadata: &Metadata) -> Result<(), Failure> {
    let kind = metadata.file_type();
    if kind.is_file() {
        return Ok(());
    }
    Err(Failure::not_regular(if kind.is_dir() {
        "a directory"
    } else if kind.is_fifo() {
        "a FIFO"
    } else {
        "a device"
    }))
}

/// The kernel's clock for these times ticks every few milliseconds: a change within the same tick as an earlier one, that
/// also keeps the size, goes unseen. `ctime` cannot be set back, `mtime` can.
pub(super) fn require_unchanged(before: &Metadata, file: &File) -> Result<(), Failure> {
    let after = file.metadata().map_err(|error| Failure::from_read(&error))?;
    let changed = if (after.dev(), after.ino()) != (before.dev(), before.ino()) {
        "identity"
    } else if after.len() != before.len() {
        "size"
    } else if (after.mtime(), after.mtime_nsec()) != (before.mtime(), before.mtime_nsec()) {
        "modification time"
    } else if (after.ctime(), after.ctime_nsec()) != (before.ctime(), before.ctime_nsec()) {
        "change time"
    } else {
        return Ok(());
    };
    Err(Failure::changed(changed))
}
