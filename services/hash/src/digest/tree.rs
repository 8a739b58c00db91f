//! SHA256TREE, as Bazel's Remote Execution API defines it (`remote_execution.proto`, `DigestFunction.SHA256TREE`).
//!
//! An input of at most 1,024 bytes has the digest of SHA-256. A longer one is cut in two, the left side as long as the
//! largest power of two that leaves something for the right side; its digest is one run of SHA-256's block function over
//! the digests of both, from other initial values than SHA-256's, which are not added to the result.
//!
//! What has come of an input is the leaves and whole subtrees in it, one per bit of the number of leaves: 54 digests at
//! most, for 2^64 bytes.

use sha2::{Digest, Sha256, block_api::compress256};

use super::kernels::Kernel;

const LEAF_BYTES: usize = 1_024;
const DIGEST_BYTES: usize = 32;

/// What the block function starts from: the fractional parts of the square roots of the 9th to the 16th prime (the upper
/// halves of SHA-384's initial values).
const NODE: [u32; 8] =
    [0xcbbb_9d5d, 0x629a_292a, 0x9159_015a, 0x152f_ecd8, 0x6733_2667, 0x8eb4_4a87, 0xdb0c_2e0d, 0x47b5_481d];

type Node = [u8; DIGEST_BYTES];

/// The state of a tree.
#[derive(Debug)]
pub(super) struct Sha256Tree {
    leaf: Sha256,
    /// What has come of the leaf under way; below [`LEAF_BYTES`].
    leaf_bytes: usize,
    /// Whole leaves so far.
    leaves: u64,
    /// Whole subtrees, the largest first: one for each bit that is set in `leaves`.
    subtrees: Vec<Node>,
}

impl Sha256Tree {
    /// Takes a whole leaf's digest, and joins it with what is on its left and has the same height.
    fn push(&mut self, leaf: Node) {
        self.leaves += 1;
        let mut node = leaf;
        for _ in 0..self.leaves.trailing_zeros() {
            let Some(left) = self.subtrees.pop() else { break };
            node = parent(&left, &node);
        }
        self.subtrees.push(node);
    }
}

impl Kernel for Sha256Tree {
    fn start() -> Self {
        Self { leaf: Sha256::new(), leaf_bytes: 0, leaves: 0, subtrees: Vec::new() }
    }

    fn update(&mut self, mut piece: &[u8]) {
        while !piece.is_empty() {
            if self.leaf_bytes == 0
                && let Some((whole, rest)) = piece.split_at_checked(LEAF_BYTES)
            {
                self.push(Sha256::digest(whole).into());
                piece = rest;
                continue;
            }
            let (taken, rest) = piece.split_at((LEAF_BYTES - self.leaf_bytes).min(piece.len()));
            Digest::update(&mut self.leaf, taken);
            self.leaf_bytes += taken.len();
            piece = rest;
            if self.leaf_bytes == LEAF_BYTES {
                self.leaf_bytes = 0;
                let leaf = self.leaf.finalize_reset().into();
                self.push(leaf);
            }
        }
    }

    fn finalize_into(mut self, out: &mut Vec<u8>) {
        // The rest is the last leaf, and is there unless the input ended with a whole one; an empty input is one leaf.
        let mut right = None;
        if self.leaf_bytes > 0 || self.leaves == 0 {
            right = Some(self.leaf.finalize().into());
        }
        while let Some(left) = self.subtrees.pop() {
            right = Some(right.map_or(left, |right| parent(&left, &right)));
        }
        let root: Node = right.unwrap_or_default();
        out.extend_from_slice(&root);
    }
}

/// The digest of what has `left` and `right` as its sides.
fn parent(left: &Node, right: &Node) -> Node {
    let mut block = [0; 2 * DIGEST_BYTES];
    block[..DIGEST_BYTES].copy_from_slice(left);
    block[DIGEST_BYTES..].copy_from_slice(right);
    let mut state = NODE;
    compress256(&mut state, &[block]);
    let mut node = [0; DIGEST_BYTES];
    for ((bytes, word), initial) in node.chunks_exact_mut(4).zip(state).zip(NODE) {
        // The library adds the initial values, as SHA-256 does.
        bytes.copy_from_slice(&word.wrapping_sub(initial).to_be_bytes());
    }
    node
}
