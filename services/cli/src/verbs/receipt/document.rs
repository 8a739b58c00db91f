//! Receipts and proofs as JSON.

use std::collections::BTreeMap;

use hashmesh::{
    receipt::{Hash, OutcomeLeaf},
    v1::{Algorithm, OutcomeStatus},
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::verbs::{name, outcome::status_name};

/// The form of receipts; another one has another number.
pub(super) const RECEIPT: &str = "hashmesh-receipt-1";
/// The form of proofs.
pub(super) const PROOF: &str = "hashmesh-proof-1";

/// What a submission came to.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Receipt {
    pub(super) form: String,
    pub(super) submission_id: String,
    pub(super) state: String,
    pub(super) algorithms: Vec<String>,
    /// Of composite digests; 0 if there are none.
    pub(super) part_bytes: u64,
    /// One per outcome, by position.
    pub(super) leaves: u64,
    /// Of the tree, in hexadecimal.
    pub(super) root: String,
    pub(super) accepted_tasks: u64,
    pub(super) succeeded_tasks: u64,
    pub(super) mismatched_tasks: u64,
    pub(super) failed_tasks: u64,
    pub(super) cancelled_tasks: u64,
    pub(super) hashed_bytes: u64,
    /// Digests that came from the cache: the object was the same as when its bytes had been read. Receipts from before there was a
    /// cache do not say it.
    #[serde(default)]
    pub(super) cached_tasks: u64,
    /// What computed the digests.
    pub(super) kernels: Vec<String>,
    pub(super) create_time: Option<String>,
    pub(super) end_time: Option<String>,
    /// When the receipt was made.
    pub(super) receipt_time: String,
}

/// That an outcome is one of a receipt's.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Proof {
    pub(super) form: String,
    pub(super) submission_id: String,
    pub(super) leaves: u64,
    pub(super) root: String,
    pub(super) leaf_hash: String,
    /// The siblings on the way from the leaf to the root.
    pub(super) path: Vec<String>,
    /// What the leaf was hashed from, and nothing else.
    pub(super) outcome: Value,
}

/// Why a document is none, or is not what it says.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum DocumentError {
    #[error("it is no {0}: {1}")]
    Form(&'static str, String),
    #[error("its {0} is not 64 hexadecimal digits in lower case")]
    Hash(&'static str),
    #[error("an outcome has no {0} that can be read")]
    Outcome(&'static str),
    #[error("its counts do not add up")]
    Counts,
}

impl Receipt {
    pub(super) fn parse(json: &[u8]) -> Result<Self, DocumentError> {
        let receipt: Self =
            serde_json::from_slice(json).map_err(|error| DocumentError::Form("receipt", error.to_string()))?;
        if receipt.form != RECEIPT {
            return Err(DocumentError::Form("receipt", format!("its form is {:?}, not {RECEIPT}", receipt.form)));
        }
        let mut counts = [receipt.mismatched_tasks, receipt.failed_tasks].into_iter();
        let recorded = counts.try_fold(receipt.succeeded_tasks, u64::checked_add);
        let accepted = recorded.and_then(|recorded| recorded.checked_add(receipt.cancelled_tasks));
        if recorded != Some(receipt.leaves) || accepted != Some(receipt.accepted_tasks) {
            return Err(DocumentError::Counts);
        }
        Ok(receipt)
    }
}

impl Proof {
    pub(super) fn parse(json: &[u8]) -> Result<Self, DocumentError> {
        let proof: Self =
            serde_json::from_slice(json).map_err(|error| DocumentError::Form("proof", error.to_string()))?;
        if proof.form != PROOF {
            return Err(DocumentError::Form("proof", format!("its form is {:?}, not {PROOF}", proof.form)));
        }
        Ok(proof)
    }
}

/// A hash in hexadecimal, in the one way in which it is written.
pub(super) fn hash(what: &'static str, digits: &str) -> Result<Hash, DocumentError> {
    let lower = !digits.bytes().any(|digit| digit.is_ascii_uppercase());
    let bytes = if lower { hex::decode(digits).ok().and_then(|bytes| bytes.try_into().ok()) } else { None };
    bytes.ok_or(DocumentError::Hash(what))
}

/// What an outcome's leaf is hashed from, as an object.
pub(super) fn outcome(leaf: &OutcomeLeaf<'_>) -> Value {
    let (key, name) = name::json_key(leaf.name);
    let digests = leaf.digests.iter();
    let digests: Map<String, Value> =
        digests.map(|(algorithm, digest)| (algorithm.name().to_owned(), hex::encode(digest).into())).collect();
    let mut object = Map::from_iter([
        (key.to_owned(), Value::from(name)),
        ("position".to_owned(), leaf.position.into()),
        ("outcome".to_owned(), status_name(leaf.status).into()),
        ("digests".to_owned(), Value::Object(digests)),
    ]);
    if !leaf.reason.is_empty() {
        object.insert("error".to_owned(), serde_json::json!({ "reason": leaf.reason }));
    }
    Value::Object(object)
}

/// What is read of an outcome's object.
#[derive(Debug)]
pub(super) struct ReadOutcome {
    pub(super) position: u64,
    pub(super) name: Vec<u8>,
    pub(super) status: OutcomeStatus,
    digests: BTreeMap<Algorithm, Vec<u8>>,
    reason: String,
}

impl ReadOutcome {
    /// Reads an object, as `results --format jsonl` writes it too.
    pub(super) fn of(object: &Map<String, Value>) -> Result<Self, DocumentError> {
        let text = |value: Option<&Value>| value.and_then(Value::as_str).map(str::to_owned);
        let statuses = [OutcomeStatus::Succeeded, OutcomeStatus::Mismatched, OutcomeStatus::Failed];
        let said = text(object.get("outcome"));
        let status = statuses.into_iter().find(|status| said.as_deref() == Some(status_name(*status)));
        let digests = object.get("digests").and_then(Value::as_object).ok_or(DocumentError::Outcome("digests"))?;
        let digests = digests.iter().map(|(name, digits)| {
            let algorithm = Algorithm::ALL.into_iter().find(|algorithm| algorithm.name() == name);
            let digest = digits.as_str().and_then(|digits| hex::decode(digits).ok());
            algorithm.zip(digest).ok_or(DocumentError::Outcome("digest"))
        });
        Ok(Self {
            position: object.get("position").and_then(Value::as_u64).ok_or(DocumentError::Outcome("position"))?,
            name: name::from_json(object).ok_or(DocumentError::Outcome("name"))?,
            status: status.ok_or(DocumentError::Outcome("status"))?,
            digests: digests.collect::<Result<_, _>>()?,
            reason: text(object.get("error").and_then(|error| error.get("reason"))).unwrap_or_default(),
        })
    }

    pub(super) fn leaf(&self) -> OutcomeLeaf<'_> {
        OutcomeLeaf {
            position: self.position,
            name: &self.name,
            status: self.status,
            digests: self.digests.iter().map(|(algorithm, digest)| (*algorithm, digest.as_slice())).collect(),
            reason: &self.reason,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outcome_is_the_same_leaf_when_it_is_read_again() {
        let digests = vec![(Algorithm::Sha512256, &[2_u8; 32][..]), (Algorithm::Blake3, &[1; 32])];
        for leaf in [
            OutcomeLeaf { position: 3, name: b"a\nb", status: OutcomeStatus::Mismatched, digests, reason: "" },
            OutcomeLeaf {
                position: u64::MAX,
                name: b"\xff",
                status: OutcomeStatus::Failed,
                digests: vec![],
                reason: "SOURCE_NOT_FOUND",
            },
        ] {
            let object = outcome(&leaf);
            let read = ReadOutcome::of(object.as_object().unwrap()).unwrap();
            assert_eq!(read.leaf().hash(), leaf.hash(), "{object}");
        }
    }
}
