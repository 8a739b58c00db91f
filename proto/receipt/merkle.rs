//! The Merkle tree of RFC 9162, 2.1, without I/O: its root and a path in it are computed as leaves come, in memory for
//! log₂ n hashes, and paths are verified.

use sha2::{Digest as _, Sha256};

/// A SHA-256 digest: of a leaf, of a node, or of the whole tree.
pub type Hash = [u8; 32];

/// With which leaves are hashed, and nodes: no node can be passed off as a leaf.
const LEAF: [u8; 1] = [0];
const NODE: [u8; 1] = [1];

/// The hash of a leaf: SHA-256 of 0x00 and its bytes.
#[must_use]
pub fn leaf_hash(bytes: &[u8]) -> Hash {
    Sha256::new().chain_update(LEAF).chain_update(bytes).finalize().into()
}

/// The hash of a node: SHA-256 of 0x01 and its two children.
fn node_hash(left: &Hash, right: &Hash) -> Hash {
    Sha256::new().chain_update(NODE).chain_update(left).chain_update(right).finalize().into()
}

/// A tree that grows leaf by leaf.
///
/// What is kept are the roots of the full subtrees that its leaves make up, the largest first, one for each bit of their
/// number.
#[derive(Clone, Debug, Default)]
pub struct Tree {
    subtrees: Vec<Subtree>,
    leaves: u64,
    /// The siblings on the way from the watched leaf to the root of the subtree that has it.
    path: Vec<Hash>,
}

#[derive(Clone, Copy, Debug)]
struct Subtree {
    hash: Hash,
    /// It has 2^height leaves.
    height: u32,
    /// The watched leaf is one of them.
    watched: bool,
}

impl Tree {
    /// A tree without leaves.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a leaf, by its [`leaf_hash`].
    pub fn push(&mut self, leaf: Hash) {
        self.add(leaf, false);
    }

    /// Adds the leaf whose path is wanted. There is one in a tree; with a second the path would be of no leaf.
    pub fn push_watched(&mut self, leaf: Hash) {
        self.add(leaf, true);
    }

    /// How many leaves there are.
    #[must_use]
    pub fn leaves(&self) -> u64 {
        self.leaves
    }

    /// The root. Without leaves it is the SHA-256 of nothing.
    #[must_use]
    pub fn root(&self) -> Hash {
        let root =
            self.subtrees.iter().rev().map(|subtree| subtree.hash).reduce(|right, left| node_hash(&left, &right));
        root.unwrap_or_else(|| Sha256::digest([]).into())
    }

    /// The inclusion proof of the watched leaf: the siblings on its way to the root, from the leaf on (RFC 9162, 2.1.3).
    #[must_use]
    pub fn path(&self) -> Vec<Hash> {
        let mut path = self.path.clone();
        let mut subtrees = self.subtrees.iter().rev();
        let Some(last) = subtrees.next() else { return path };
        // The smaller subtrees join first.
        let mut joined = *last;
        for left in subtrees {
            joined = join(*left, joined, &mut path);
        }
        path
    }

    fn add(&mut self, leaf: Hash, watched: bool) {
        self.leaves += 1;
        let mut subtree = Subtree { hash: leaf, height: 0, watched };
        while let Some(left) = self.subtrees.pop_if(|left| left.height == subtree.height) {
            subtree = join(left, subtree, &mut self.path);
        }
        self.subtrees.push(subtree);
    }
}

/// The node above two subtrees. The path goes on by the one that does not have the watched leaf.
fn join(left: Subtree, right: Subtree, path: &mut Vec<Hash>) -> Subtree {
    if left.watched {
        path.push(right.hash);
    } else if right.watched {
        path.push(left.hash);
    }
    let watched = left.watched || right.watched;
    Subtree { hash: node_hash(&left.hash, &right.hash), height: left.height + 1, watched }
}

/// Why a path proves nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// There is no such leaf.
    #[error("leaf {leaf} is not one of {leaves}")]
    NoSuchLeaf {
        /// From 0.
        leaf: u64,
        /// How many there are.
        leaves: u64,
    },
    /// A path of another tree.
    #[error("the path has another length than one of this leaf in a tree of this size")]
    Length,
    /// The leaf, its place, or the path is another.
    #[error("the path leads to another root")]
    Root,
}

/// Checks that a leaf with this hash is number `leaf` (from 0) of the `leaves` below `root` (RFC 9162, 2.1.3.2).
///
/// # Errors
/// If it is not, or if the path does not show it.
pub fn verify_inclusion(hash: &Hash, leaf: u64, leaves: u64, path: &[Hash], root: &Hash) -> Result<(), ProofError> {
    if leaf >= leaves {
        return Err(ProofError::NoSuchLeaf { leaf, leaves });
    }
    // Where we are among the nodes of a level, and the last of them.
    let (mut node, mut last) = (leaf, leaves - 1);
    let mut found = *hash;
    for sibling in path {
        if last == 0 {
            return Err(ProofError::Length);
        }
        if node % 2 == 1 || node == last {
            found = node_hash(sibling, &found);
            // A last node without a sibling is the same one on the levels above.
            while node % 2 == 0 && node != 0 {
                node /= 2;
                last /= 2;
            }
        } else {
            found = node_hash(&found, sibling);
        }
        node /= 2;
        last /= 2;
    }
    if last != 0 {
        return Err(ProofError::Length);
    }
    if found == *root { Ok(()) } else { Err(ProofError::Root) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The leaves of Certificate Transparency's reference tree, and its roots with the first 0 to 8 of them.
    const LEAVES: [&str; 8] =
        ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"];
    const ROOTS: [&str; 9] = [
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
        "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    ];
    /// A leaf, a tree's size, and the path.
    const PATHS: [(u64, usize, &[&str]); 5] = [
        (0, 1, &[]),
        (
            0,
            8,
            &[
                "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
                "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
                "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
            ],
        ),
        (
            5,
            8,
            &[
                "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
                "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
                "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
            ],
        ),
        (2, 3, &["fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"]),
        (
            1,
            5,
            &[
                "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
                "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
                "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
            ],
        ),
    ];

    fn hash(text: &str) -> Hash {
        hex::decode(text).unwrap().try_into().unwrap()
    }

    fn tree(leaves: &[Hash], watched: Option<usize>) -> Tree {
        let mut tree = Tree::new();
        for (index, leaf) in leaves.iter().enumerate() {
            if Some(index) == watched { tree.push_watched(*leaf) } else { tree.push(*leaf) }
        }
        tree
    }

    #[test]
    fn roots_and_paths_are_those_of_certificate_transparencys_reference_tree() {
        let leaves: Vec<Hash> = LEAVES.iter().map(|leaf| leaf_hash(&hex::decode(leaf).unwrap())).collect();
        for (size, root) in ROOTS.iter().enumerate() {
            assert_eq!(hex::encode(tree(&leaves[..size], None).root()), *root, "{size} leaves");
        }
        for (leaf, size, expected) in PATHS {
            let tree = tree(&leaves[..size], Some(leaf as usize));
            let path = tree.path();
            assert_eq!(path.iter().map(hex::encode).collect::<Vec<_>>(), expected, "leaf {leaf} of {size}");
            let verified = verify_inclusion(&leaves[leaf as usize], leaf, size as u64, &path, &hash(ROOTS[size]));
            assert_eq!(verified, Ok(()));
        }
    }

    /// The definition, word for word (RFC 9162, 2.1.1).
    fn defined(leaves: &[Hash]) -> Hash {
        match leaves {
            [] => Sha256::digest([]).into(),
            [leaf] => *leaf,
            more => {
                let split = more.len().next_power_of_two() / 2;
                node_hash(&defined(&more[..split]), &defined(&more[split..]))
            }
        }
    }

    #[test]
    fn every_leaf_of_every_small_tree_is_proved_and_no_other_place_is() {
        for size in 1..=65_u64 {
            let leaves: Vec<Hash> = (0..size).map(|leaf| leaf_hash(&leaf.to_be_bytes())).collect();
            let root = defined(&leaves);
            for leaf in 0..size {
                let tree = tree(&leaves, Some(leaf as usize));
                assert_eq!((tree.root(), tree.leaves()), (root, size));
                let path = tree.path();
                for place in 0..size + 1 {
                    let verified = verify_inclusion(&leaves[leaf as usize], place, size, &path, &root);
                    assert_eq!(verified.is_ok(), place == leaf, "{leaf} of {size} at {place}");
                }
            }
        }
    }

    proptest! {
        #[test]
        fn every_altered_bit_is_refused(size in 1..300_u64, leaf in any::<prop::sample::Index>(), bit in any::<prop::sample::Index>()) {
            let leaves: Vec<Hash> = (0..size).map(|leaf| leaf_hash(&leaf.to_be_bytes())).collect();
            let leaf = leaf.index(leaves.len());
            let tree = tree(&leaves, Some(leaf));
            let (root, path) = (tree.root(), tree.path());
            let verify = |hash: &Hash, path: &[Hash], root: &Hash| verify_inclusion(hash, leaf as u64, size, path, root);
            prop_assert_eq!(verify(&leaves[leaf], &path, &root), Ok(()));
            // All of it as one string of bits: leaf, path, root.
            let mut all: Vec<Hash> = [leaves[leaf]].into_iter().chain(path.iter().copied()).chain([root]).collect();
            let bit = bit.index(all.len() * 256);
            all[bit / 256][bit % 256 / 8] ^= 1 << (bit % 8);
            let altered = verify(&all[0], &all[1..all.len() - 1], &all[all.len() - 1]);
            prop_assert_eq!(altered, Err(ProofError::Root));
            // A path that is longer, shorter, or has two parts exchanged.
            let longer: Vec<Hash> = path.iter().copied().chain([root]).collect();
            prop_assert_eq!(verify(&leaves[leaf], &longer, &root), Err(ProofError::Length));
            if let Some((_, shorter)) = path.split_last() {
                prop_assert!(verify(&leaves[leaf], shorter, &root).is_err());
            }
            if path.len() > 1 {
                let mut exchanged = path.clone();
                exchanged.swap(0, path.len() - 1);
                prop_assert_eq!(verify(&leaves[leaf], &exchanged, &root), Err(ProofError::Root));
            }
        }
    }
}
