//! Which digests are wanted of an input, and what they depend on besides its bytes.

use std::{num::NonZeroU64, ops::Deref};

use hashmesh::v1::Algorithm;

/// Algorithms, in the order of their digests, with the part size of those that are composite. Stands for its algorithms
/// wherever a slice of them is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recipe {
    algorithms: Vec<Algorithm>,
    part_bytes: Option<NonZeroU64>,
}

/// A composite algorithm without a part size: it would not be known what it is the digest of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{} needs the length of the parts", .0.name())]
pub struct NoPartSize(pub Algorithm);

impl Recipe {
    /// `part_bytes`: the length of the parts of composite digests, of which only the last is shorter; 0 where there is none.
    /// Any length will do: what requests may ask for is [`hashmesh::algorithm::check_part_bytes`]'s.
    ///
    /// # Errors
    /// [`NoPartSize`].
    pub fn new(algorithms: impl Into<Vec<Algorithm>>, part_bytes: u64) -> Result<Self, NoPartSize> {
        let (algorithms, part_bytes) = (algorithms.into(), NonZeroU64::new(part_bytes));
        let composite = algorithms.iter().copied().find(|algorithm| algorithm.composite());
        match (composite, part_bytes) {
            (Some(algorithm), None) => Err(NoPartSize(algorithm)),
            _ => Ok(Self { algorithms, part_bytes }),
        }
    }

    /// The length of the parts. That of a recipe without composite algorithms does not matter.
    pub(crate) fn part_bytes(&self) -> NonZeroU64 {
        self.part_bytes.unwrap_or(NonZeroU64::MAX)
    }
}

impl Deref for Recipe {
    type Target = [Algorithm];

    fn deref(&self) -> &[Algorithm] {
        &self.algorithms
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn composite_algorithms_need_a_part_size_and_others_do_not() {
        assert_eq!(Recipe::new([Algorithm::Md5], 0).unwrap()[..], [Algorithm::Md5]);
        let mixed = [Algorithm::Md5, Algorithm::Crc32Composite];
        assert_eq!(Recipe::new(mixed, 0), Err(NoPartSize(Algorithm::Crc32Composite)));
        assert_eq!(Recipe::new(mixed, 7).unwrap().part_bytes().get(), 7);
    }
}
