//! Memory that is read to.

use std::ops::{Deref, DerefMut};

/// A line of the CPU's cache. What a read copies to the middle of one comes at a third of the rate or less on some CPUs (Zen 4 from the page
/// cache: 2.5 GB/s instead of 9, and 7 where an allocator puts large pieces of memory, 16 bytes behind the start of a page).
pub(super) const LINE_BYTES: usize = 64;

/// So many bytes, of which the first begins a line.
#[derive(Debug)]
pub struct Buffer {
    memory: Vec<u8>,
    start: usize,
    bytes: usize,
}

impl Buffer {
    /// Zeros.
    #[must_use]
    pub fn new(bytes: usize) -> Self {
        let memory = vec![0_u8; bytes + LINE_BYTES - 1];
        // It never moves: nothing is added to it. Whatever the offset is, the bytes are within.
        let start = memory.as_ptr().align_offset(LINE_BYTES).min(LINE_BYTES - 1);
        Self { memory, start, bytes }
    }
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.memory[self.start..][..self.bytes]
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.memory[self.start..][..self.bytes]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_has_the_bytes_that_were_asked_for_from_the_start_of_a_line_on() {
        for bytes in [0, 1, 63, 64, 65, 100_000, 1_000_000] {
            let mut buffer = Buffer::new(bytes);
            assert_eq!((buffer.len(), buffer.as_ptr() as usize % LINE_BYTES), (bytes, 0));
            buffer.fill(7);
            assert!(buffer.iter().all(|byte| *byte == 7));
        }
    }
}
