//! SHA256TREE, as Bazel's Remote Execution API defines it (`remote_execution.proto`, `DigestFunction.SHA256TREE`).
//!
//! An input of at most 1,024 bytes has the digest of SHA-256. A longer one is cut in two, the left side as long as the
//! largest power of two that leaves something for the right side; its digest is one run of SHA-256's block function over
//! the digests of both, from other initial values than SHA-256's, which are not added to the result.
//!
//! What has come of an input is the leaves and whole subtrees in it, one per bit of the number of leaves: 54 digests at
//! most, for 2^64 bytes.

use rayon::{iter::ParallelIterator as _, slice::ParallelSlice as _};
use sha2::{Digest, Sha256, block_api::compress256};

use super::kernels::Kernel;
use crate::kernels::{self, Digests, SHA256};

const LEAF_BYTES: usize = 1_024;
/// Leaves that are computed side by side: a whole subtree. What it reads fits a core's own cache.
const GROVE: usize = 64;
const GROVE_BYTES: usize = GROVE * LEAF_BYTES;
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
    /// Takes the digest of a whole subtree of so many leaves (a power of two, of which the leaves so far are a multiple),
    /// and joins it with what is on its left and has the same height.
    fn push(&mut self, subtree: Node, leaves: u64) {
        self.leaves += leaves;
        let mut node = subtree;
        for _ in 0..(self.leaves / leaves).trailing_zeros() {
            let Some(left) = self.subtrees.pop() else { break };
            node = parent(&left, &node);
        }
        self.subtrees.push(node);
    }
}

impl Kernel for Sha256Tree {
    const ON_THREADS: bool = true;

    fn start() -> Self {
        Self { leaf: Sha256::new(), leaf_bytes: 0, leaves: 0, subtrees: Vec::new() }
    }

    fn update(&mut self, mut piece: &[u8]) {
        while !piece.is_empty() {
            if self.leaf_bytes == 0
                && self.leaves.is_multiple_of(GROVE as u64)
                && let Some((whole, rest)) = piece.split_first_chunk()
            {
                self.push(grove(whole), GROVE as u64);
                piece = rest;
                continue;
            }
            if self.leaf_bytes == 0
                && let Some((whole, rest)) = piece.split_at_checked(LEAF_BYTES)
            {
                self.push(Sha256::digest(whole).into(), 1);
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
                self.push(leaf, 1);
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

    fn update_on_threads(&mut self, piece: &[u8]) {
        // Up to where a grove begins.
        let under_way = self.leaves % GROVE as u64 * LEAF_BYTES as u64 + self.leaf_bytes as u64;
        let start = (GROVE_BYTES - under_way as usize) % GROVE_BYTES;
        let (first, piece) = piece.split_at(start.min(piece.len()));
        self.update(first);
        let (groves, rest) = piece.as_chunks::<GROVE_BYTES>();
        let nodes: Vec<Node> =
            groves.par_chunks(GROVES_PER_THREAD).flat_map_iter(|some| some.iter().map(grove)).collect();
        for node in nodes {
            self.push(node, GROVE as u64);
        }
        self.update(rest);
    }
}

/// What a thread takes at a time: some 0.1 ms.
const GROVES_PER_THREAD: usize = 4;

/// The digest of a subtree of [`GROVE`] leaves, computed side by side, level by level.
fn grove(bytes: &[u8; GROVE_BYTES]) -> Node {
    let leaves: [&[u8]; GROVE] = std::array::from_fn(|leaf| &bytes[leaf * LEAF_BYTES..][..LEAF_BYTES]);
    let mut nodes = [0; GROVE * DIGEST_BYTES];
    kernels::digests(SHA256, &leaves, &mut Digests { out: &mut nodes, at: 0, stride: DIGEST_BYTES });
    let mut states = [NODE; GROVE / 2];
    let mut parents = GROVE / 2;
    while parents > 0 {
        states[..parents].fill(NODE);
        let blocks = nodes.chunks_exact(2 * DIGEST_BYTES);
        let mut pieces: Vec<_> = states[..parents].iter_mut().zip(blocks).collect();
        kernels::advance(&mut pieces);
        for (node, state) in nodes.chunks_exact_mut(DIGEST_BYTES).zip(&states[..parents]) {
            node.copy_from_slice(&without_initial(state));
        }
        parents /= 2;
    }
    let mut root = [0; DIGEST_BYTES];
    root.copy_from_slice(&nodes[..DIGEST_BYTES]);
    root
}

/// The digest of what has `left` and `right` as its sides.
fn parent(left: &Node, right: &Node) -> Node {
    let mut block = [0; 2 * DIGEST_BYTES];
    block[..DIGEST_BYTES].copy_from_slice(left);
    block[DIGEST_BYTES..].copy_from_slice(right);
    let mut state = NODE;
    compress256(&mut state, &[block]);
    without_initial(&state)
}

/// A node's digest from the state at its end. The block function has added the initial values, as SHA-256 does.
fn without_initial(state: &[u32; 8]) -> Node {
    let mut node = [0; DIGEST_BYTES];
    for ((bytes, word), initial) in node.chunks_exact_mut(4).zip(state).zip(NODE) {
        bytes.copy_from_slice(&word.wrapping_sub(initial).to_be_bytes());
    }
    node
}
