//! Reading what is in memory at once, and asking the disk for the rest before it is waited for.

use std::{
    io::{self, ErrorKind},
    num::NonZeroU64,
    os::fd::AsFd,
};

/// Reads from this place on what is in memory, and no more; without a place, from where the file stands.
///
/// # Errors
/// [`ErrorKind::WouldBlock`]: nothing is. [`ErrorKind::Unsupported`], and others: not every kernel and file system can say. Whatever it
/// is, a read that waits is right; so it is if nothing is read.
#[cfg(target_os = "linux")]
pub fn read_now(file: impl AsFd, room: &mut [u8], place: Option<u64>) -> io::Result<usize> {
    // As `read` does, from where the file stands.
    const HERE: u64 = u64::MAX;
    let place = place.unwrap_or(HERE);
    let read = rustix::io::preadv2(file, &mut [io::IoSliceMut::new(room)], place, rustix::io::ReadWriteFlags::NOWAIT);
    Ok(read?)
}

/// Nobody can say here.
///
/// # Errors
/// [`ErrorKind::Unsupported`], always.
#[cfg(not(target_os = "linux"))]
pub fn read_now(_: impl AsFd, _: &mut [u8], _: Option<u64>) -> io::Result<usize> {
    Err(ErrorKind::Unsupported.into())
}

/// Whether a read that does not wait said that it would have to.
#[must_use]
pub fn must_wait(error: &io::Error) -> bool {
    error.kind() == ErrorKind::WouldBlock
}

/// Has the disk read so many bytes from `place` on, all of the rest without a number, and does not wait for it. False: it cannot be asked.
#[cfg(target_os = "linux")]
pub fn ask_disk(file: impl AsFd, place: u64, bytes: Option<NonZeroU64>) -> bool {
    rustix::fs::fadvise(file, place, bytes, rustix::fs::Advice::WillNeed).is_ok()
}

/// It cannot be asked here.
#[cfg(not(target_os = "linux"))]
pub fn ask_disk(_: impl AsFd, _: u64, _: Option<NonZeroU64>) -> bool {
    false
}
