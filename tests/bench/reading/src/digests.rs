//! What every way of reading feeds.

use hashmesh::v1::Algorithm;
use hashmesh_hash::{MultiHasher, Recipe, digest_many};

/// Digests, folded into one word each, so that keeping them costs nothing.
pub(crate) struct Digests {
    recipe: Recipe,
    out: Vec<u8>,
    folded: u64,
}

impl Digests {
    pub(crate) fn new() -> Self {
        Self { recipe: Recipe::new([Algorithm::Sha256], 0).expect("no composite"), out: Vec::new(), folded: 0 }
    }

    /// Inputs in the order of their files.
    pub(crate) fn many<'a>(&mut self, inputs: impl Iterator<Item = &'a [u8]>) {
        self.out.clear();
        digest_many(&self.recipe, inputs, &mut self.out).expect("digests are right");
        self.fold();
    }

    /// One input, in pieces.
    pub(crate) fn begin(&self) -> MultiHasher {
        MultiHasher::new(&self.recipe)
    }

    pub(crate) fn end(&mut self, hasher: MultiHasher) {
        self.out.clear();
        hasher.finalize_into(&mut self.out);
        self.fold();
    }

    fn fold(&mut self) {
        for digest in self.out.chunks_exact(32) {
            let word = u64::from_le_bytes(digest[..8].try_into().expect("eight bytes"));
            self.folded = self.folded.rotate_left(7) ^ word;
        }
    }

    pub(crate) fn all(self) -> u64 {
        self.folded
    }
}
