//! Small inputs in one buffer, so that they are digested side by side.

use std::ops::Range;

use super::buffer::{Buffer, LINE_BYTES};

/// Small inputs, read and not yet digested. Its memory is what it was made with.
#[derive(Debug)]
pub struct SmallInputs {
    buffer: Buffer,
    /// Where each input is.
    places: Vec<Range<usize>>,
}

impl SmallInputs {
    /// Room for so many bytes, of which each input takes full lines of the CPU's cache (64 bytes).
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self { buffer: Buffer::new(capacity), places: Vec::new() }
    }

    /// Where the next input may be read to: what is left of the room.
    #[must_use]
    pub fn room(&mut self) -> &mut [u8] {
        let start = self.start();
        &mut self.buffer[start..]
    }

    /// Keeps the first `bytes` of the room as the next input; at most all of it.
    pub fn keep(&mut self, bytes: usize) {
        let start = self.start();
        self.places.push(start..start.saturating_add(bytes).min(self.buffer.len()));
    }

    /// The number of inputs.
    #[must_use]
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// True if nothing was kept.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// The inputs, in the order in which they were kept.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        self.places.iter().map(|place| &self.buffer[place.clone()])
    }

    /// Forgets all inputs.
    pub fn clear(&mut self) {
        self.places.clear();
    }

    /// Of the room that is left.
    fn start(&self) -> usize {
        let filled = self.places.last().map_or(0, |last| last.end);
        filled.next_multiple_of(LINE_BYTES).min(self.buffer.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_input_begins_a_line_until_there_is_no_room_and_empty_ones_count() {
        let mut inputs = SmallInputs::new(3 * LINE_BYTES + 3);
        let line = "x".repeat(LINE_BYTES);
        for input in ["ab", "", &line, "cd", "efg", ""] {
            let place = inputs.room().as_ptr() as usize;
            assert!(inputs.room().len() >= input.len() && place.is_multiple_of(LINE_BYTES) || inputs.room().is_empty());
            inputs.room()[..input.len()].copy_from_slice(input.as_bytes());
            inputs.keep(input.len());
        }
        assert!(inputs.room().is_empty());
        assert!(inputs.iter().eq([&b"ab"[..], b"", line.as_bytes(), b"cd", b"efg", b""]));
        inputs.keep(1);
        assert_eq!(inputs.iter().last(), Some(&b""[..]), "no more than there is room");
        inputs.clear();
        assert!(inputs.is_empty() && inputs.room().len() == 3 * LINE_BYTES + 3);
    }
}
