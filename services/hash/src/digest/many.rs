//! Many inputs that are there as a whole.

use std::num::NonZeroU64;

use hashmesh::algorithm::stride;

use super::{
    CACHED_BYTES,
    composite::Composite,
    digest_into,
    kernels::{Kernel, Visitor, visit},
};
use crate::{Recipe, Untrusted, kernels::Digests};

/// Inputs that are computed together: enough that lanes idle at the end of a hundredth of the time, few enough that the list of
/// them is no burden to a stack.
const TOGETHER: usize = 256;

/// Appends the digests of every input, in order, each input's concatenated, to `out`. The fast path for many small
/// inputs: for most algorithms it allocates once, and nothing per input. SHA-2 is computed for several inputs side by side.
///
/// # Errors
/// [`Untrusted`]: a digest that was computed again, as one in 10,000 is, came out otherwise. Nothing in `out` may be used.
pub fn digest_many<'a>(
    recipe: &Recipe,
    mut inputs: impl Iterator<Item = &'a [u8]>,
    out: &mut Vec<u8>,
) -> Result<(), Untrusted> {
    out.reserve(inputs.size_hint().0.saturating_mul(stride(recipe)));
    if !recipe.gains_side_by_side() {
        // One algorithm, the common case, is chosen once and not per input.
        if let [algorithm] = recipe[..] {
            super::digest_each(algorithm, recipe, inputs, out);
        } else {
            inputs.for_each(|input| digest_into(recipe, input, out));
        }
        return Ok(());
    }
    // Several algorithms read what is in the CPU's cache; one does not care.
    let most_bytes = if recipe.len() > 1 { CACHED_BYTES } else { usize::MAX };
    let mut together: [&[u8]; TOGETHER] = [&[]; TOGETHER];
    loop {
        let (mut count, mut bytes) = (0, 0);
        while count < TOGETHER && bytes < most_bytes {
            let Some(input) = inputs.next() else { break };
            together[count] = input;
            count += 1;
            bytes += input.len();
        }
        if count == 0 {
            return Ok(());
        }
        digest_together(recipe, &together[..count], out)?;
    }
}

/// Appends the digests of these inputs: all of the first algorithm, then all of the second and so on, each to its place.
fn digest_together(recipe: &Recipe, inputs: &[&[u8]], out: &mut Vec<u8>) -> Result<(), Untrusted> {
    let (stride, mut at) = (stride(recipe), out.len());
    out.resize(at + inputs.len() * stride, 0);
    for algorithm in recipe.iter() {
        let digests = Digests { out, at, stride };
        let together = Together { part_bytes: recipe.part_bytes(), inputs, digests };
        // None: the algorithm computes nothing.
        visit(*algorithm, together).unwrap_or(Ok(()))?;
        at += algorithm.digest_bytes();
    }
    Ok(())
}

/// One algorithm's digests of inputs.
struct Together<'i, 'o> {
    part_bytes: NonZeroU64,
    inputs: &'i [&'i [u8]],
    digests: Digests<'o>,
}

impl Visitor for Together<'_, '_> {
    type Output = Result<(), Untrusted>;

    fn plain<K: Kernel>(mut self) -> Self::Output {
        K::digest_each(self.inputs, &mut self.digests)
    }

    fn composite<K: Kernel>(mut self) -> Self::Output {
        let mut scratch = Vec::new();
        for (number, input) in self.inputs.iter().enumerate() {
            scratch.clear();
            Composite::<K>::digest_into(self.part_bytes, input, &mut scratch);
            self.digests.write(number, &scratch);
        }
        Ok(())
    }
}
