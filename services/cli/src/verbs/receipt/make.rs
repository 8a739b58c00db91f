//! Receipts and proofs, made from what the mesh has.

use std::{collections::BTreeSet, io, time::SystemTime};

use hashmesh::{client::Client, receipt::Tree, v1::Submission};

use super::document::{PROOF, Proof, RECEIPT, Receipt, outcome};
use crate::verbs::{
    caching::cached_tasks,
    failure::Failure,
    recorded::{self, Recorded},
    submission,
};

/// More kernels than there can be.
const MAX_KERNELS: usize = 64;

/// Whose proof is wanted.
#[derive(Clone, Debug)]
pub(super) enum Wanted {
    Position(u64),
    Name(Vec<u8>),
}

/// What was found on the way through a submission's outcomes.
#[derive(Debug, Default)]
struct Walked {
    tree: Tree,
    kernels: BTreeSet<String>,
    cached_tasks: u64,
    /// Of the outcome that was wanted: what is hashed, and the hash.
    found: Option<(serde_json::Value, String)>,
    /// How many there were: a name may come twice.
    times: u64,
}

impl Walked {
    fn through(recorded: Recorded, wanted: Option<&Wanted>) -> Self {
        let mut walked = Self::default();
        for outcomes in recorded {
            walked.cached_tasks += cached_tasks(&outcomes);
            if !outcomes.kernel.is_empty() && walked.kernels.len() < MAX_KERNELS {
                walked.kernels.insert(outcomes.kernel.clone());
            }
            for leaf in outcomes.leaves() {
                let hash = leaf.hash();
                let is_wanted = match wanted {
                    None => false,
                    Some(Wanted::Position(position)) => leaf.position == *position,
                    Some(Wanted::Name(name)) => leaf.name == name.as_slice(),
                };
                if !is_wanted {
                    walked.tree.push(hash);
                    continue;
                }
                walked.times += 1;
                if walked.times == 1 {
                    walked.found = Some((outcome(&leaf), hex::encode(hash)));
                    walked.tree.push_watched(hash);
                } else {
                    walked.tree.push(hash);
                }
            }
        }
        walked
    }
}

/// Reads all outcomes of a submission that has ended.
async fn walk(client: &Client, id: &str, wanted: Option<Wanted>) -> Result<(Submission, Walked), Failure> {
    let submission = recorded::ended(client, id).await?;
    let walked =
        recorded::read(client, id, move |recorded| Ok::<_, io::Error>(Walked::through(recorded, wanted.as_ref())));
    let walked = walked.await?;
    if walked.tree.leaves() != submission.recorded_tasks {
        let (found, wanted) = (walked.tree.leaves(), submission.recorded_tasks);
        return Err(Failure::Local(format!("the mesh sent {found} outcomes of {wanted}; try again")));
    }
    Ok((submission, walked))
}

/// The receipt of a submission.
pub(super) async fn receipt(client: &Client, id: &str) -> Result<Receipt, Failure> {
    let (submission, walked) = walk(client, id, None).await?;
    let options = submission.options.clone().unwrap_or_default();
    Ok(Receipt {
        form: RECEIPT.to_owned(),
        state: submission.state().name().to_owned(),
        algorithms: submission::algorithms(&options.algorithms).into_iter().map(str::to_owned).collect(),
        part_bytes: options.part_bytes,
        leaves: walked.tree.leaves(),
        root: hex::encode(walked.tree.root()),
        accepted_tasks: submission.accepted_tasks,
        succeeded_tasks: submission.succeeded_tasks,
        mismatched_tasks: submission.mismatched_tasks,
        failed_tasks: submission.failed_tasks,
        cancelled_tasks: submission.cancelled_tasks,
        hashed_bytes: submission.hashed_bytes,
        cached_tasks: walked.cached_tasks,
        kernels: walked.kernels.into_iter().collect(),
        create_time: submission.create_time.as_ref().and_then(submission::timestamp),
        end_time: submission.end_time.as_ref().and_then(submission::timestamp),
        receipt_time: submission::timestamp(&SystemTime::now().into()).unwrap_or_default(),
        submission_id: submission.submission_id,
    })
}

/// That an outcome is one of a submission's.
pub(super) async fn proof(client: &Client, id: &str, wanted: Wanted) -> Result<Proof, Failure> {
    let (submission, walked) = walk(client, id, Some(wanted)).await?;
    let Some((outcome, leaf_hash)) = walked.found else {
        return Err(Failure::Local(format!("submission {id} has no such outcome")));
    };
    if walked.times > 1 {
        let (times, position) = (walked.times, &outcome["position"]);
        let text = format!("{times} outcomes have this name, the first at position {position}; say --position");
        return Err(Failure::Local(text));
    }
    Ok(Proof {
        form: PROOF.to_owned(),
        submission_id: submission.submission_id,
        leaves: walked.tree.leaves(),
        root: hex::encode(walked.tree.root()),
        leaf_hash,
        path: walked.tree.path().iter().map(hex::encode).collect(),
        outcome,
    })
}
