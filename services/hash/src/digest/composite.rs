//! Composite digests: the digest of the digests of an input's parts, concatenated, as S3 keeps them for objects that were
//! uploaded in parts (an ETag's MD5, the checksums of type COMPOSITE).
//!
//! Parts are of equal length but for the last, which has what is left, and is never empty unless the input is. There is
//! always one.

use std::num::NonZeroU64;

use super::kernels::Kernel;

/// The state of a composite digest: two of the plain one, whatever the input's length.
#[derive(Debug)]
pub(super) struct Composite<K> {
    part_bytes: u64,
    /// What the part under way may still take.
    room: u64,
    part: K,
    /// Over the digests of the parts before.
    whole: K,
    /// A part's digest, on its way from one to the other.
    scratch: Vec<u8>,
}

impl<K: Kernel> Composite<K> {
    pub(super) fn new(part_bytes: NonZeroU64) -> Self {
        let part_bytes = part_bytes.get();
        Self { part_bytes, room: part_bytes, part: K::start(), whole: K::start(), scratch: Vec::new() }
    }

    pub(super) fn update(&mut self, mut piece: &[u8]) {
        while !piece.is_empty() {
            // Only now is it known that the full part is not the last one.
            if self.room == 0 {
                self.end_part();
            }
            let now = usize::try_from(self.room).map_or(piece.len(), |room| room.min(piece.len()));
            let (taken, rest) = piece.split_at(now);
            self.part.update(taken);
            self.room -= taken.len() as u64;
            piece = rest;
        }
    }

    pub(super) fn finalize_into(mut self, out: &mut Vec<u8>) {
        self.end_part();
        self.whole.finalize_into(out);
    }

    /// The same for an input that is there as a whole.
    pub(super) fn digest_into(part_bytes: NonZeroU64, input: &[u8], out: &mut Vec<u8>) {
        let mut composite = Self::new(part_bytes);
        composite.update(input);
        composite.finalize_into(out);
    }

    fn end_part(&mut self) {
        self.scratch.clear();
        std::mem::replace(&mut self.part, K::start()).finalize_into(&mut self.scratch);
        self.whole.update(&self.scratch);
        self.room = self.part_bytes;
    }
}
