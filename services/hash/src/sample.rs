//! A sample of what the kernels compute is computed again, all the time: a CPU may begin to fail after the check at start.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::{
    fault,
    kernels::{Digests, Family, Sha2},
};

/// One result in so many is computed again.
const EVERY: u64 = 10_000;

/// A digest that was computed again came out otherwise: nothing that this process computes may be trusted any more. End it.
#[derive(Clone, Debug, thiserror::Error)]
#[error(
    "the {family} digest of an input of {input_bytes} bytes is {computed} by {kernel} and {again} by sha2; \
     do not use this machine or this build"
)]
pub struct Untrusted {
    family: &'static str,
    kernel: String,
    input_bytes: usize,
    computed: String,
    again: String,
}

impl Untrusted {
    /// What the kernels of `family` computed, and what came out when it was computed again.
    #[must_use]
    pub fn new(family: &'static str, kernel: &str, input_bytes: usize, computed: &[u8], again: &[u8]) -> Self {
        let (computed, again) = (hex::encode(computed), hex::encode(again));
        Self { family, kernel: kernel.to_owned(), input_bytes, computed, again }
    }
}

/// Chooses what is computed again.
#[derive(Debug)]
pub(crate) struct Sample {
    every: u64,
    /// Results so far.
    results: AtomicU64,
}

/// That of this process.
pub(crate) static SAMPLE: Sample = Sample::new(EVERY);

impl Sample {
    pub(crate) const fn new(every: u64) -> Self {
        Self { every, results: AtomicU64::new(0) }
    }

    /// Counts the digests of `inputs`, and computes those again whose turn it is: the first, and each `every`th after it.
    ///
    /// # Errors
    /// [`Untrusted`].
    pub(crate) fn check<W: Family>(
        &self,
        algorithm: Sha2<W>,
        inputs: &[&[u8]],
        digests: &mut Digests<'_>,
    ) -> Result<(), Untrusted> {
        let before = self.results.fetch_add(inputs.len() as u64, Ordering::Relaxed);
        let mut turn = before.next_multiple_of(self.every) - before;
        while let Some(input) = usize::try_from(turn).ok().and_then(|number| inputs.get(number)) {
            let mut again = vec![0; algorithm.digest_bytes];
            (algorithm.plain)(input, &mut again);
            let computed = digests.of(turn as usize, algorithm.digest_bytes);
            fault::spoil(computed);
            if computed != again {
                let kernel = crate::kernels::names::<W>().unwrap_or_default();
                return Err(Untrusted::new(W::FAMILY, &kernel, input.len(), computed, &again));
            }
            turn += self.every;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::SHA256;

    /// Checks the digests of 25 inputs, that of `wrong` being another one, in groups of `together`.
    fn check(every: u64, together: usize, wrong: usize) -> Result<(), Untrusted> {
        let inputs: Vec<Vec<u8>> = (0..25).map(|length| vec![7; length]).collect();
        let inputs: Vec<&[u8]> = inputs.iter().map(Vec::as_slice).collect();
        let mut out = vec![0; 25 * 32];
        for (digest, input) in out.chunks_mut(32).zip(&inputs) {
            (SHA256.plain)(input, digest);
        }
        out[wrong * 32 + 31] ^= 1;
        let sample = Sample::new(every);
        for (inputs, digests) in inputs.chunks(together).zip(out.chunks_mut(together * 32)) {
            sample.check(SHA256, inputs, &mut Digests { out: digests, at: 0, stride: 32 })?;
        }
        Ok(())
    }

    #[test]
    fn the_first_result_and_every_tenth_after_it_are_computed_again_and_no_other() {
        for wrong in 0..25 {
            for together in [1, 2, 3, 7, 10, 25] {
                let found = check(10, together, wrong);
                assert_eq!(found.is_err(), wrong % 10 == 0, "{wrong} of groups of {together}: {found:?}");
            }
        }
    }

    #[test]
    fn a_wrong_digest_is_named_with_what_it_should_be() {
        let text = check(10, 25, 10).unwrap_err().to_string();
        assert!(text.contains("of 10 bytes") && text.contains("by sha2"), "{text}");
    }
}
