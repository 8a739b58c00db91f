//! What is hashed of an outcome.
//!
//! | field | bytes |
//! |---|---|
//! | `hashmesh.outcome.v1` | text: its length in 4 bytes, then the text |
//! | the position | 8 bytes |
//! | the task's name | text; empty if it has none |
//! | the status | 1 byte, its number in `OutcomeStatus` |
//! | how many digests follow | 1 byte; 0 if the task failed |
//! | of each digest, by the algorithms' names in byte order | the algorithm's name, text; the digest, text |
//! | the reason of a failed task | text; empty for all others |
//!
//! Numbers are big-endian. Every field says its own length, so that no two outcomes have the same bytes. The sentence for
//! people beside a failure's reason is not part of it: its wording may change.

use super::merkle::{Hash, leaf_hash};
use crate::{
    algorithm::stride,
    v1::{Algorithm, OutcomeStatus, PackedOutcomes},
};

const DOMAIN: &[u8] = b"hashmesh.outcome.v1";

/// What a receipt commits to, of one outcome.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutcomeLeaf<'a> {
    /// From 1.
    pub position: u64,
    /// The task's name.
    pub name: &'a [u8],
    /// What became of the task.
    pub status: OutcomeStatus,
    /// In any order; none if the task failed.
    pub digests: Vec<(Algorithm, &'a [u8])>,
    /// Why it failed (`TaskError.reason`); empty if it did not.
    pub reason: &'a str,
}

impl OutcomeLeaf<'_> {
    /// The bytes that are hashed.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut digests = self.digests.clone();
        digests.sort_unstable_by_key(|(algorithm, _)| algorithm.name());
        let mut bytes = Vec::with_capacity(128 + self.name.len());
        put(DOMAIN, &mut bytes);
        bytes.extend_from_slice(&self.position.to_be_bytes());
        put(self.name, &mut bytes);
        // Both are below 256: the statuses are few, and so are the algorithms of a submission.
        bytes.push(self.status as u8);
        bytes.push(digests.len() as u8);
        for (algorithm, digest) in digests {
            put(algorithm.name().as_bytes(), &mut bytes);
            put(digest, &mut bytes);
        }
        put(self.reason.as_bytes(), &mut bytes);
        bytes
    }

    /// The leaf's hash.
    #[must_use]
    pub fn hash(&self) -> Hash {
        leaf_hash(&self.encode())
    }
}

fn put(text: &[u8], bytes: &mut Vec<u8>) {
    bytes.extend_from_slice(&u32::try_from(text.len()).unwrap_or(u32::MAX).to_be_bytes());
    bytes.extend_from_slice(text);
}

impl PackedOutcomes {
    /// The outcomes as leaves, by position.
    pub fn leaves(&self) -> impl Iterator<Item = OutcomeLeaf<'_>> {
        let algorithms = self.known_algorithms();
        let stride = stride(&algorithms);
        let mut names = self.names.as_ref().map_or(&[][..], |names| &names.data);
        let mut lengths = self.names.as_ref().map_or(&[][..], |names| &names.lengths).iter();
        let mut failures = self.failures.iter().peekable();
        (0..self.task_count).map(move |index| {
            let length = lengths.next().map_or(0, |length| *length as usize);
            let (name, rest) = names.split_at(names.len().min(length));
            names = rest;
            let status = self.status_at(index as usize);
            let failure =
                failures.next_if(|failure| failure.offset == index).and_then(|failure| failure.error.as_ref());
            let start = index as usize * stride;
            let mut concatenated = match status {
                OutcomeStatus::Succeeded | OutcomeStatus::Mismatched => self.digests.get(start..start + stride),
                OutcomeStatus::Failed | OutcomeStatus::Unspecified => None,
            }
            .unwrap_or_default();
            let digests = algorithms.iter().map_while(|algorithm| {
                let (digest, rest) = concatenated.split_at_checked(algorithm.digest_bytes())?;
                concatenated = rest;
                Some((*algorithm, digest))
            });
            OutcomeLeaf {
                position: self.first_position + u64::from(index),
                name,
                status,
                digests: digests.collect(),
                reason: failure.map_or("", |error| &error.reason),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::v1::{PackedFailure, PackedNames, TaskError};

    fn leaf<'a>(name: &'a [u8], digests: &[(Algorithm, &'a [u8])]) -> OutcomeLeaf<'a> {
        OutcomeLeaf { position: 258, name, status: OutcomeStatus::Succeeded, digests: digests.to_vec(), reason: "" }
    }

    #[test]
    fn the_bytes_are_those_of_the_table() {
        let digests = [(Algorithm::Sha1, &[0xab, 0xcd][..]), (Algorithm::Md5, &[0xef])];
        let expected = concat!(
            "00000013686173686d6573682e6f7574636f6d652e7631",
            "0000000000000102",
            "00000002",
            "61ff",
            "01",
            "02",
            "000000036d6435",
            "00000001ef",
            "0000000473686131",
            "00000002abcd",
            "00000000",
        );
        assert_eq!(hex::encode(leaf(b"a\xff", &digests).encode()), expected);
        let [first, second] = digests;
        assert_eq!(leaf(b"a", &[second, first]), leaf(b"a", &[second, first]));
        assert_eq!(leaf(b"a", &[second, first]).hash(), leaf(b"a", &[first, second]).hash());
    }

    #[test]
    fn whatever_differs_in_an_outcome_its_hash_does() {
        let md5 = [(Algorithm::Md5, &[1_u8; 16][..])];
        let one = leaf(b"ab", &md5);
        let others = [
            OutcomeLeaf { position: 259, ..one.clone() },
            OutcomeLeaf { name: b"a", ..one.clone() },
            OutcomeLeaf { status: OutcomeStatus::Mismatched, ..one.clone() },
            OutcomeLeaf { digests: vec![], ..one.clone() },
            OutcomeLeaf { digests: vec![(Algorithm::Md5, &[2; 16])], ..one.clone() },
            OutcomeLeaf { digests: vec![(Algorithm::Sha1, &[1; 16])], ..one.clone() },
            OutcomeLeaf { reason: "SOURCE_NOT_FOUND", ..one.clone() },
        ];
        let mut hashes: Vec<Hash> = others.iter().chain([&one]).map(OutcomeLeaf::hash).collect();
        hashes.sort_unstable();
        hashes.dedup();
        assert_eq!(hashes.len(), others.len() + 1);
    }

    #[test]
    fn columns_become_leaves() {
        let error = TaskError { reason: "SOURCE_NOT_FOUND".into(), message: "no such file".into() };
        let outcomes = PackedOutcomes {
            first_position: 7,
            task_count: 3,
            algorithms: vec![Algorithm::Md5 as i32, Algorithm::Sha1 as i32],
            digests: Bytes::from([&[1; 16][..], &[2; 20], &[0; 36], &[3; 16], &[4; 20]].concat()),
            statuses: Bytes::from_static(&[1, 3, 2]),
            failures: vec![PackedFailure { offset: 1, error: Some(error) }],
            names: Some(PackedNames { data: Bytes::from_static(b"abb"), lengths: vec![1, 2, 0] }),
            ..PackedOutcomes::default()
        };
        let digests = |md5: &'static [u8], sha1: &'static [u8]| vec![(Algorithm::Md5, md5), (Algorithm::Sha1, sha1)];
        let expected = [
            OutcomeLeaf {
                position: 7,
                name: b"a",
                status: OutcomeStatus::Succeeded,
                digests: digests(&[1; 16], &[2; 20]),
                reason: "",
            },
            OutcomeLeaf {
                position: 8,
                name: b"bb",
                status: OutcomeStatus::Failed,
                digests: vec![],
                reason: "SOURCE_NOT_FOUND",
            },
            OutcomeLeaf {
                position: 9,
                name: b"",
                status: OutcomeStatus::Mismatched,
                digests: digests(&[3; 16], &[4; 20]),
                reason: "",
            },
        ];
        assert_eq!(outcomes.leaves().collect::<Vec<_>>(), expected);
    }
}
