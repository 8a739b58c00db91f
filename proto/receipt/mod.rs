//! Receipts: a root that commits to every outcome of a submission, and proofs that single outcomes are among them, which
//! anybody can check without a mesh.
//!
//! The outcomes are the leaves of a Merkle tree, in the order of their positions: the outcome at position p is leaf p − 1.
//! The tree is that of RFC 9162, 2.1: SHA-256, leaves and nodes told apart by a byte in front ([`merkle`]). What is hashed
//! of an outcome is in [`leaf`].
//!
//! ```
//! use hashmesh::receipt::{Tree, OutcomeLeaf, verify_inclusion};
//! # use hashmesh::v1::{Algorithm, OutcomeStatus};
//! # let outcome = OutcomeLeaf { position: 1, name: b"a", status: OutcomeStatus::Succeeded, digests: vec![], reason: "" };
//! let mut tree = Tree::new();
//! tree.push_watched(outcome.hash());
//! let (root, path) = (tree.root(), tree.path());
//! verify_inclusion(&outcome.hash(), 0, tree.leaves(), &path, &root).unwrap();
//! ```

pub mod leaf;
pub mod merkle;

pub use self::{
    leaf::OutcomeLeaf,
    merkle::{Hash, ProofError, Tree, leaf_hash, verify_inclusion},
};
