//! Several digests from one read: at once for small inputs, in pieces for large ones.
//!
//! Digests are written one after another, in the order of the recipe's algorithms: [`hashmesh::algorithm::stride`] bytes
//! per input. `Algorithm::Unspecified` computes nothing and takes no room.

mod checksum;
mod composite;
mod kernels;
mod many;
mod running;
mod several;
mod stream;
mod tree;

use hashmesh::{algorithm::stride, v1::Algorithm};

pub use self::many::digest_many;
use self::{
    composite::Composite,
    kernels::{Kernel, Visitor, visit},
    running::{Running, Start},
};
use crate::Recipe;

/// Computes several digests of one input that comes in pieces. Its memory does not depend on the input's length. The
/// default one computes nothing.
#[derive(Debug, Default)]
pub struct MultiHasher {
    hashers: Vec<Box<dyn Running>>,
}

impl MultiHasher {
    /// Starts an input. The order of the recipe's algorithms is the order of the digests.
    #[must_use]
    pub fn new(recipe: &Recipe) -> Self {
        let start = |algorithm: &Algorithm| visit(*algorithm, Start { part_bytes: recipe.part_bytes() });
        Self { hashers: recipe.iter().filter_map(start).collect() }
    }

    /// Takes the input's next bytes.
    pub fn update(&mut self, piece: &[u8]) {
        // A piece goes through every algorithm while it is in the CPU's cache, so the input crosses memory once.
        for cached in piece.chunks(CACHED_BYTES) {
            for hasher in &mut self.hashers {
                hasher.take(cached);
            }
        }
    }

    /// Ends the input and appends its digests, concatenated, to `out`.
    pub fn finalize_into(self, out: &mut Vec<u8>) {
        for hasher in self.hashers {
            hasher.end_into(out);
        }
    }
}

/// What fits a core's own cache beside everything else: a quarter of the smallest common L2 (256 KiB).
const CACHED_BYTES: usize = 64 * 1024;

/// Appends the digests of `input`, concatenated, to `out`. The fast path for one small input: for most algorithms it
/// allocates nothing but what `out` lacks.
pub fn digest_into(recipe: &Recipe, input: &[u8], out: &mut Vec<u8>) {
    out.reserve(stride(recipe));
    for algorithm in recipe.iter() {
        digest_each(*algorithm, recipe, std::iter::once(input), out);
    }
}

fn digest_each<'a>(algorithm: Algorithm, recipe: &Recipe, inputs: impl Iterator<Item = &'a [u8]>, out: &mut Vec<u8>) {
    // None: the algorithm computes nothing.
    let _ = visit(algorithm, Each { recipe, inputs, out });
}

/// Digests of inputs that are there as a whole.
struct Each<'o, I> {
    recipe: &'o Recipe,
    inputs: I,
    out: &'o mut Vec<u8>,
}

impl<'a, I: Iterator<Item = &'a [u8]>> Visitor for Each<'_, I> {
    type Output = ();

    fn plain<K: Kernel>(self) {
        self.inputs.for_each(|input| K::digest_into(input, self.out));
    }

    fn composite<K: Kernel>(self) {
        let part_bytes = self.recipe.part_bytes();
        self.inputs.for_each(|input| Composite::<K>::digest_into(part_bytes, input, self.out));
    }
}

#[cfg(test)]
mod tests;
