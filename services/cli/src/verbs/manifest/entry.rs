//! What a manifest says about one name.

use hashmesh::v1::Algorithm;

/// A name, and what is known of its content.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::verbs) struct Entry {
    pub(in crate::verbs) name: Vec<u8>,
    /// One per algorithm. Empty where the manifest has the name and no digest of it (an inventory's multipart object).
    pub(in crate::verbs) digests: Vec<(Algorithm, Vec<u8>)>,
    /// In bytes, where the format has it.
    pub(in crate::verbs) size: Option<u64>,
}

impl Entry {
    pub(super) fn of(name: impl Into<Vec<u8>>, algorithm: Algorithm, digest: Vec<u8>) -> Self {
        Self { name: name.into(), digests: vec![(algorithm, digest)], size: None }
    }
}

/// What is not in the manifest itself.
#[derive(Clone, Debug, Default)]
pub(in crate::verbs) struct Hints {
    /// As the user or the file's name said; tried in order.
    pub(in crate::verbs) algorithms: Vec<Algorithm>,
    /// In which parts objects were uploaded; 0 if nobody said.
    pub(in crate::verbs) part_bytes: u64,
}

impl Hints {
    /// The algorithm of a digest of this length: one that was named, else the usual one.
    pub(in crate::verbs) fn by_length(&self, bytes: usize) -> Result<Algorithm, ReadError> {
        let fits = |algorithm: &&Algorithm| algorithm.digest_bytes() == bytes;
        // Of those with 32 bytes, SHA-256 is what a manifest without a name means.
        let usual = [
            Algorithm::Sha256,
            Algorithm::Sha512,
            Algorithm::Sha1,
            Algorithm::Md5,
            Algorithm::Sha384,
            Algorithm::Sha224,
        ];
        let known =
            if self.algorithms.is_empty() { usual.iter().find(fits) } else { self.algorithms.iter().find(fits) };
        known.copied().ok_or(ReadError::Length(bytes))
    }
}

/// Why a line is none of a manifest.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(in crate::verbs) enum ReadError {
    #[error("improperly formatted")]
    Form,
    #[error("no algorithm is known for a digest of {0} bytes; name it with --algorithm")]
    Length(usize),
    #[error("unknown algorithm {0:?}")]
    Algorithm(String),
}

/// Hexadecimal digits of a digest of this algorithm.
pub(super) fn digest(algorithm: Algorithm, digits: &[u8]) -> Result<Vec<u8>, ReadError> {
    let digest = hex::decode(digits).map_err(|_| ReadError::Form)?;
    if digest.len() == algorithm.digest_bytes() { Ok(digest) } else { Err(ReadError::Form) }
}

/// An algorithm's name, in any of its spellings.
pub(super) fn algorithm(name: &str) -> Result<Algorithm, ReadError> {
    name.parse().map_err(|_| ReadError::Algorithm(name.to_owned()))
}

const HEX: &[u8; 16] = b"0123456789abcdef";

/// Puts a digest in hexadecimal, in lower case.
pub(super) fn put_hex(digest: &[u8], out: &mut Vec<u8>) {
    for byte in digest {
        out.push(HEX[usize::from(byte >> 4)]);
        out.push(HEX[usize::from(byte & 15)]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_length_of_a_digest_names_its_algorithm_unless_somebody_did() {
        assert_eq!(Hints::default().by_length(32), Ok(Algorithm::Sha256));
        let hints = Hints { algorithms: vec![Algorithm::Md5, Algorithm::Blake3], part_bytes: 0 };
        assert_eq!(hints.by_length(32), Ok(Algorithm::Blake3));
        assert_eq!(hints.by_length(2), Err(ReadError::Length(2)));
        assert_eq!(hints.by_length(20), Err(ReadError::Length(20)));
    }
}
