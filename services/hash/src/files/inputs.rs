//! Small inputs behind one another in one buffer, so that they are digested side by side.

use std::ops::Range;

/// Small inputs, read and not yet digested. Its memory is what it was made with.
#[derive(Debug)]
pub struct SmallInputs {
    buffer: Vec<u8>,
    /// Where each input ends. It begins where the one before it ends.
    ends: Vec<usize>,
}

impl SmallInputs {
    /// Room for so many bytes together.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self { buffer: vec![0; capacity], ends: Vec::new() }
    }

    /// Where the next input may be read to: what is left of the room.
    #[must_use]
    pub fn room(&mut self) -> &mut [u8] {
        let filled = self.filled();
        &mut self.buffer[filled..]
    }

    /// Keeps the first `bytes` of the room as the next input; at most all of it.
    pub fn keep(&mut self, bytes: usize) {
        let end = self.filled().saturating_add(bytes).min(self.buffer.len());
        self.ends.push(end);
    }

    /// The number of inputs.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// True if nothing was kept.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The inputs, in the order in which they were kept.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        (0..self.ends.len()).map(|index| &self.buffer[self.range(index)])
    }

    /// Forgets all inputs.
    pub fn clear(&mut self) {
        self.ends.clear();
    }

    fn filled(&self) -> usize {
        self.ends.last().copied().unwrap_or(0)
    }

    fn range(&self, index: usize) -> Range<usize> {
        let start = index.checked_sub(1).map_or(0, |before| self.ends[before]);
        start..self.ends[index]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inputs_lie_behind_one_another_and_empty_ones_count() {
        let mut inputs = SmallInputs::new(5);
        for input in ["ab", "", "cde", ""] {
            assert!(inputs.room().len() >= input.len());
            inputs.room()[..input.len()].copy_from_slice(input.as_bytes());
            inputs.keep(input.len());
        }
        assert!(inputs.room().is_empty());
        assert!(inputs.iter().eq([&b"ab"[..], b"", b"cde", b""]));
        inputs.clear();
        assert!(inputs.is_empty() && inputs.room().len() == 5);
    }
}
