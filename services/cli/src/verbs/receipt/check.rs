//! Receipts checked without a mesh: against a proof, or against all outcomes.

use std::path::Path;

use hashmesh::{
    receipt::{Hash, Tree, verify_inclusion},
    v1::OutcomeStatus,
};
use serde_json::{Map, Value};

use super::document::{Proof, ReadOutcome, Receipt, hash};
use crate::verbs::{
    manifest::{Line, Lines, Part},
    name,
    outcome::status_name,
    sort::Sorter,
};

/// Pairs of a position and a hash that are sorted in memory.
const RUN_BYTES: usize = 16 * 1024 * 1024;
/// A path has at most 64 parts, and a name 4,096 bytes.
pub(super) const MAX_DOCUMENT_BYTES: u64 = 1024 * 1024;

/// Checks that a proof's outcome is one of the receipt's; says which.
pub(super) fn proof(receipt: &Receipt, proof: &Proof) -> Result<String, String> {
    if proof.submission_id != receipt.submission_id {
        return Err(format!("the proof is of submission {}, not of the receipt's", proof.submission_id));
    }
    if (proof.leaves, &proof.root) != (receipt.leaves, &receipt.root) {
        return Err("the proof is of another tree than the receipt".to_owned());
    }
    let read = |error: super::document::DocumentError| error.to_string();
    let object = proof.outcome.as_object().ok_or("the proof has no outcome")?;
    let outcome = ReadOutcome::of(object).map_err(read)?;
    let leaf = outcome.leaf();
    // What is not hashed must not be there: nothing would show that it was altered.
    if super::document::outcome(&leaf) != proof.outcome {
        return Err("the proof's outcome says more than is proved, or says it otherwise".to_owned());
    }
    if hash("leaf_hash", &proof.leaf_hash).map_err(read)? != leaf.hash() {
        return Err("the proof's outcome is not the one that was hashed".to_owned());
    }
    let path = proof.path.iter().map(|part| hash("path", part)).collect::<Result<Vec<Hash>, _>>().map_err(read)?;
    let root = hash("root", &receipt.root).map_err(read)?;
    let number = outcome.position.checked_sub(1).ok_or("positions begin at 1")?;
    verify_inclusion(&leaf.hash(), number, receipt.leaves, &path, &root).map_err(|error| error.to_string())?;
    Ok(format!(
        "{} is outcome {} of {}, {}",
        name::display(&outcome.name),
        outcome.position,
        receipt.leaves,
        status_name(outcome.status)
    ))
}

/// Checks that the objects of a file, one per line in any order, are all outcomes of the receipt.
pub(super) fn outcomes(receipt: &Receipt, path: &Path) -> Result<String, String> {
    let unread = |error: std::io::Error| format!("cannot read {}: {error}", path.display());
    let root = hash("root", &receipt.root).map_err(|error| error.to_string())?;
    let mut sorter = Sorter::new(RUN_BYTES);
    let mut counts = [0_u64; 3];
    let mut lines = Lines::new(vec![Part::open(path).map_err(unread)?]);
    while let Some((number, line)) = lines.next_line().map_err(unread)? {
        let wrong = |why: &dyn std::fmt::Display| format!("line {number}: {why}");
        let Line::Whole(line) = line else { return Err(wrong(&"it is too long")) };
        let object: Map<String, Value> = serde_json::from_slice(line).map_err(|error| wrong(&error))?;
        let outcome = ReadOutcome::of(&object).map_err(|error| wrong(&error))?;
        match outcome.status {
            OutcomeStatus::Succeeded => counts[0] += 1,
            OutcomeStatus::Mismatched => counts[1] += 1,
            OutcomeStatus::Failed | OutcomeStatus::Unspecified => counts[2] += 1,
        }
        sorter.push(&outcome.position.to_be_bytes(), &outcome.leaf().hash()).map_err(unread)?;
    }
    let mut tree = Tree::new();
    let mut sorted = sorter.sorted().map_err(unread)?;
    while let Some(pair) = sorted.next_pair().map_err(unread)? {
        let wanted = tree.leaves() + 1;
        let position = pair.key.as_slice().try_into().map_or(0, u64::from_be_bytes);
        if position != wanted {
            let what = if position < wanted { "is there twice" } else { "is missing" };
            return Err(format!("the outcome at position {} {what}", position.min(wanted)));
        }
        tree.push(pair.value.as_slice().try_into().map_err(|_| "what was sorted is no hash")?);
    }
    if tree.leaves() != receipt.leaves {
        return Err(format!("there are {} outcomes, {} in the receipt", tree.leaves(), receipt.leaves));
    }
    if tree.root() != root {
        return Err("the outcomes are not those of the receipt".to_owned());
    }
    if counts != [receipt.succeeded_tasks, receipt.mismatched_tasks, receipt.failed_tasks] {
        return Err("the receipt counts its outcomes wrongly".to_owned());
    }
    Ok(format!("all {} outcomes are those of the receipt", receipt.leaves))
}

#[cfg(test)]
mod tests {
    use hashmesh::{
        receipt::OutcomeLeaf,
        v1::{Algorithm, OutcomeStatus},
    };

    use super::{
        super::document::{PROOF, RECEIPT, outcome},
        *,
    };

    const LEAVES: u64 = 7;

    /// A tree of seven outcomes, and the object of each.
    fn tree(watched: u64) -> (Tree, Vec<(Value, String)>) {
        let mut tree = Tree::new();
        let mut objects = Vec::new();
        for position in 1..=LEAVES {
            let (name, digest) = (format!("file {position}"), [position as u8; 32]);
            let digests = vec![(Algorithm::Sha256, &digest[..])];
            let status = OutcomeStatus::Succeeded;
            let leaf = OutcomeLeaf { position, name: name.as_bytes(), status, digests, reason: "" };
            objects.push((outcome(&leaf), hex::encode(leaf.hash())));
            if position == watched {
                tree.push_watched(leaf.hash());
            } else {
                tree.push(leaf.hash());
            }
        }
        (tree, objects)
    }

    fn receipt() -> Receipt {
        let json = serde_json::json!({
            "form": RECEIPT, "submission_id": "id", "state": "completed", "algorithms": ["sha256"], "part_bytes": 0, "leaves": LEAVES,
            "root": hex::encode(tree(0).0.root()), "accepted_tasks": LEAVES, "succeeded_tasks": LEAVES,
            "mismatched_tasks": 0, "failed_tasks": 0, "cancelled_tasks": 0, "hashed_bytes": 1, "kernels": [],
            "create_time": null, "end_time": null, "receipt_time": "",
        });
        Receipt::parse(json.to_string().as_bytes()).unwrap()
    }

    fn proof_of(position: u64) -> Proof {
        let (tree, mut objects) = tree(position);
        let (outcome, leaf_hash) = objects.swap_remove(position as usize - 1);
        Proof {
            form: PROOF.into(),
            submission_id: "id".into(),
            leaves: LEAVES,
            root: hex::encode(tree.root()),
            leaf_hash,
            path: tree.path().iter().map(hex::encode).collect(),
            outcome,
        }
    }

    #[test]
    fn a_proof_holds_and_none_with_an_altered_bit_does() {
        let receipt = receipt();
        for position in 1..=LEAVES {
            let honest = proof_of(position);
            proof(&receipt, &honest).unwrap();
            let text = serde_json::to_vec(&honest).unwrap();
            for bit in 0..text.len() * 8 {
                let mut altered = text.clone();
                altered[bit / 8] ^= 1 << (bit % 8);
                let parsed = Proof::parse(&altered).map_err(|error| error.to_string());
                let holds = parsed.and_then(|altered| proof(&receipt, &altered)).is_ok();
                assert!(!holds, "{}", String::from_utf8_lossy(&altered));
            }
        }
    }

    #[test]
    fn all_outcomes_hold_in_any_order_and_no_others() {
        let receipt = receipt();
        let objects: Vec<Value> = tree(0).1.into_iter().map(|(object, _)| object).collect();
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("outcomes");
        let check = |objects: &[Value]| {
            let lines: String = objects.iter().map(|object| format!("{object}\n")).collect();
            std::fs::write(&path, lines).unwrap();
            outcomes(&receipt, &path)
        };
        check(&objects).unwrap();
        let reversed: Vec<Value> = objects.iter().rev().cloned().collect();
        check(&reversed).unwrap();
        let mut other = objects.clone();
        other[3]["name"] = "another".into();
        for (objects, why) in [
            (&objects[1..], "position 1 is missing"),
            (&objects[..6], "6 outcomes, 7"),
            (&[&objects[..], &objects[..1]].concat()[..], "position 1 is there twice"),
            (&other[..], "not those of the receipt"),
        ] {
            let error = check(objects).unwrap_err();
            assert!(error.contains(why), "{error}");
        }
    }
}
