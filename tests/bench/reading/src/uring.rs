//! Reading by io_uring: many files by one call, or one file with several reads under way.

use std::{
    fs::File,
    io,
    ops::{Deref, DerefMut},
    os::fd::AsRawFd as _,
};

use io_uring::{
    IoUring, opcode,
    squeue::Flags,
    types::{DestinationSlot, Fd, Fixed},
};

use crate::{Item, Tree};

/// Opened, read and closed.
const STEPS: u64 = 3;

/// Whole small files.
pub(crate) struct Files {
    ring: IoUring,
    /// One for each file.
    buffers: Vec<Vec<u8>>,
    ends: Vec<usize>,
}

impl Files {
    pub(crate) fn new(files: usize, most_bytes: usize) -> io::Result<Self> {
        let ring = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .build((STEPS as usize * files).next_power_of_two() as u32)?;
        ring.submitter().register_files_sparse(files as u32)?;
        Ok(Self { ring, buffers: vec![vec![0; most_bytes + 1]; files], ends: vec![0; files] })
    }

    /// What is in these files.
    pub(crate) fn read(&mut self, tree: &Tree, items: &[Item]) -> io::Result<impl Iterator<Item = &[u8]>> {
        for (slot, item) in items.iter().enumerate() {
            let directory = Fd(tree.directories[item.directory].as_raw_fd());
            let place = DestinationSlot::try_from_slot_target(slot as u32).expect("a small number");
            let buffer = &mut self.buffers[slot];
            let steps = [
                opcode::OpenAt::new(directory, item.name.as_ptr())
                    .file_index(Some(place))
                    .build()
                    .flags(Flags::IO_HARDLINK),
                opcode::Read::new(Fixed(slot as u32), buffer.as_mut_ptr(), buffer.len() as u32)
                    .build()
                    .flags(Flags::IO_HARDLINK),
                opcode::Close::new(Fixed(slot as u32)).build(),
            ];
            let first = STEPS * slot as u64;
            for (step, number) in steps.into_iter().zip(first..) {
                // SAFETY: names and buffers stay until all have completed, below.
                unsafe { self.ring.submission().push(&step.user_data(number)) }.expect("room for all");
            }
        }
        let mut left = STEPS as usize * items.len();
        while left > 0 {
            self.ring.submit_and_wait(left)?;
            for completed in self.ring.completion() {
                left -= 1;
                if completed.result() < 0 {
                    return Err(io::Error::from_raw_os_error(-completed.result()));
                }
                if completed.user_data() % STEPS == 1 {
                    self.ends[(completed.user_data() / STEPS) as usize] = completed.result() as usize;
                }
            }
        }
        Ok(self.buffers.iter().zip(&self.ends).take(items.len()).map(|(buffer, end)| &buffer[..*end]))
    }
}

/// One file with several reads under way.
pub(crate) struct Ahead {
    ring: IoUring,
    buffers: Vec<Aligned>,
}

impl Ahead {
    pub(crate) fn new(reads: usize, bytes: usize) -> io::Result<Self> {
        let ring =
            IoUring::builder().setup_single_issuer().setup_defer_taskrun().build(reads.next_power_of_two() as u32)?;
        Ok(Self { ring, buffers: (0..reads).map(|_| Aligned::new(bytes)).collect() })
    }

    /// Hands over the file's bytes in order.
    pub(crate) fn read(&mut self, file: &File, bytes: u64, mut piece: impl FnMut(&[u8])) -> io::Result<()> {
        let piece_bytes = self.buffers[0].len() as u64;
        let pieces = bytes.div_ceil(piece_bytes);
        let reads = self.buffers.len() as u64;
        let mut ends: Vec<Option<usize>> = vec![None; self.buffers.len()];
        let mut begun = 0;
        for next in 0..pieces {
            while begun < pieces && begun < next + reads {
                let buffer = &mut self.buffers[(begun % reads) as usize];
                let read = opcode::Read::new(Fd(file.as_raw_fd()), buffer.as_mut_ptr(), buffer.len() as u32)
                    .offset(begun * piece_bytes)
                    .build()
                    .user_data(begun % reads);
                // SAFETY: the buffer stays, and is not looked at before the read has completed.
                unsafe { self.ring.submission().push(&read) }.expect("room for all");
                begun += 1;
            }
            let place = (next % reads) as usize;
            self.ring.submit()?;
            while ends[place].is_none() {
                self.ring.submit_and_wait(1)?;
                for completed in self.ring.completion() {
                    if completed.result() < 0 {
                        return Err(io::Error::from_raw_os_error(-completed.result()));
                    }
                    ends[completed.user_data() as usize] = Some(completed.result() as usize);
                }
            }
            let end = ends[place].take().expect("it has completed");
            let wanted = (bytes - next * piece_bytes).min(piece_bytes) as usize;
            if end != wanted {
                return Err(io::Error::other(format!("{end} bytes came where {wanted} were wanted")));
            }
            piece(&self.buffers[place][..end]);
        }
        Ok(())
    }
}

/// Bytes that a disk can write to.
pub(crate) struct Aligned {
    bytes: Vec<u8>,
    begin: usize,
    len: usize,
}

impl Aligned {
    const TO: usize = 4096;

    pub(crate) fn new(len: usize) -> Self {
        let bytes = vec![0; len + Self::TO];
        let begin = bytes.as_ptr().align_offset(Self::TO);
        Self { bytes, begin, len }
    }
}

impl Deref for Aligned {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[self.begin..][..self.len]
    }
}

impl DerefMut for Aligned {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.begin..][..self.len]
    }
}
