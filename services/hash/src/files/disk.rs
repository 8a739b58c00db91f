//! Reading what is in memory at once, and asking the disk for the rest before it is waited for.

use std::{
    io::{self, ErrorKind},
    num::NonZeroU64,
    ops::Range,
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

/// How many files behind one that is not in memory are worth asking for: as large a part of what follows as the part that was not in
/// memory of those before that nobody had asked for. To ask for one costs as much as to read one that is.
#[derive(Clone, Copy, Debug)]
pub struct Foresight {
    /// That part, 0 to 1: those read last count most.
    missing: f32,
    /// Of the files under way, all before this place were asked for.
    asked_to: usize,
}

impl Foresight {
    /// Nothing is known.
    #[must_use]
    pub const fn new() -> Self {
        Self { missing: 0.25, asked_to: 0 }
    }

    /// Other files begin, at place 0.
    pub const fn begin(&mut self) {
        self.asked_to = 0;
    }

    /// The file at this place is in memory.
    pub fn found(&mut self, place: usize) {
        if place >= self.asked_to {
            self.missing -= self.missing / 16.0;
        }
    }

    /// The file at this place is not in memory. Returns the places behind it to ask for; there are files before `end`.
    pub fn missed(&mut self, place: usize, end: usize) -> Range<usize> {
        if place < self.asked_to {
            return 0..0;
        }
        // Not negative, and not more than there are.
        #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let worth = (end.saturating_sub(place + 1) as f32 * self.missing) as usize;
        self.missing += (1.0 - self.missing) / 4.0;
        self.asked_to = end.min(place + 1 + worth);
        place + 1..self.asked_to
    }
}

impl Default for Foresight {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads so many groups of 32 files, of which every `nth` is not in memory. Returns how many were asked for.
    fn asked(groups: usize, nth: usize) -> usize {
        let (mut foresight, mut asked) = (Foresight::new(), 0);
        for group in 0..groups {
            foresight.begin();
            for place in 0..32 {
                if (group * 32 + place).is_multiple_of(nth) {
                    let places = foresight.missed(place, 32);
                    assert!(places.is_empty() || (places.start == place + 1 && places.end <= 32), "{places:?}");
                    asked += places.len();
                } else {
                    foresight.found(place);
                }
            }
        }
        asked
    }

    #[test]
    fn the_more_files_are_missing_the_more_are_asked_for() {
        // 32,000 files each.
        assert!(asked(1_000, 1) > 29_000, "{}", asked(1_000, 1));
        assert!((2_000..20_000).contains(&asked(1_000, 10)), "{}", asked(1_000, 10));
        assert!(asked(1_000, 50) < 2_000, "{}", asked(1_000, 50));
        assert_eq!(asked(1_000, usize::MAX), 7, "the first one of all is missing");
    }
}
