//! Outcomes in their two shapes: columns for throughput, rows for people.
//!
//! A [`PackedOutcomes`] covers a run of neighbouring tasks whose positions are neighbours too. Nothing here fails or
//! panics: columns come from our own processes, and where they do not agree (a torn row, a newer version) what cannot be
//! read is absent.

mod cut;
mod identities;
mod rows;

use bytes::Bytes;

pub use self::identities::IdentitiesBuilder;

use crate::{
    algorithm::stride,
    v1::{Algorithm, OutcomeStatus, PackedOutcomes, Results},
};

impl Results {
    /// How many outcomes there are.
    #[must_use]
    pub fn outcome_count(&self) -> usize {
        self.rows.len() + self.columns.iter().map(|columns| columns.task_count as usize).sum::<usize>()
    }
}

impl PackedOutcomes {
    /// The algorithms of the digests, in their order.
    #[must_use]
    pub fn known_algorithms(&self) -> Vec<Algorithm> {
        self.algorithms.iter().filter_map(|number| Algorithm::known(*number)).collect()
    }

    /// The status of the outcome at `index`, counted from `first_task`. Unspecified if there is none.
    #[must_use]
    pub fn status_at(&self, index: usize) -> OutcomeStatus {
        if index >= self.task_count as usize {
            return OutcomeStatus::Unspecified;
        }
        if self.statuses.is_empty() {
            return OutcomeStatus::Succeeded;
        }
        let number = self.statuses.get(index).copied().map_or(0, i32::from);
        OutcomeStatus::try_from(number).unwrap_or_default()
    }

    /// The digests of the outcome at `index`, as slices, in the submission's order of algorithms. None if the task failed.
    pub fn digests_at(&self, index: usize) -> impl Iterator<Item = (Algorithm, Bytes)> {
        let algorithms = self.known_algorithms();
        let stride = stride(&algorithms);
        let mut start = index.saturating_mul(stride);
        let readable = start.saturating_add(stride) <= self.digests.len()
            && matches!(self.status_at(index), OutcomeStatus::Succeeded | OutcomeStatus::Mismatched);
        algorithms.into_iter().take_while(move |_| readable).map(move |algorithm| {
            let end = start + algorithm.digest_bytes();
            let digest = self.digests.slice(start..end);
            start = end;
            (algorithm, digest)
        })
    }

    /// The last outcome's position; the position before the first if there is no outcome.
    #[must_use]
    pub fn through_position(&self) -> u64 {
        self.first_position.saturating_add(u64::from(self.task_count)).saturating_sub(1)
    }
}

#[cfg(test)]
mod samples {
    use proptest::{collection::vec, prelude::*};

    use crate::{
        algorithm::stride,
        outcomes::IdentitiesBuilder,
        v1::{Algorithm, ObjectIdentity, OutcomeStatus, PackedFailure, PackedNames, PackedOutcomes, TaskError},
    };

    /// Well-formed outcomes of `count` tasks, of all statuses.
    pub(super) fn outcomes(count: std::ops::Range<usize>) -> impl Strategy<Value = PackedOutcomes> {
        (vec((1..4_u8, vec(any::<u8>(), 0..3)), count), any::<bool>(), any::<bool>(), 1..100_u64).prop_map(
            |(tasks, named, sized, first_position)| {
                let algorithms = [Algorithm::Md5, Algorithm::Sha1];
                let statuses: Vec<u8> = tasks.iter().map(|(status, _)| *status).collect();
                let failed = |(offset, status): (usize, &u8)| {
                    (i32::from(*status) == OutcomeStatus::Failed as i32).then(|| PackedFailure {
                        offset: offset as u32,
                        error: Some(TaskError { reason: format!("REASON_{offset}"), message: String::new() }),
                    })
                };
                let digests = (0..tasks.len()).flat_map(|task| vec![task as u8 + 1; stride(&algorithms)]).collect();
                let names = PackedNames {
                    data: tasks.iter().flat_map(|(_, name)| name.clone()).collect(),
                    lengths: tasks.iter().map(|(_, name)| name.len() as u32).collect(),
                };
                let mut identities = IdentitiesBuilder::default();
                for (task, (status, name)) in tasks.iter().enumerate() {
                    let etag = String::from_utf8_lossy(name).into_owned();
                    let identity = ObjectIdentity { size: task as u64, etag, ..ObjectIdentity::default() };
                    identities.push((*status != 3 && sized).then_some(&identity));
                }
                PackedOutcomes {
                    first_position,
                    sequence: 3,
                    first_task: 5,
                    task_count: tasks.len() as u32,
                    algorithms: algorithms.map(i32::from).to_vec(),
                    digests,
                    failures: statuses.iter().enumerate().filter_map(failed).collect(),
                    statuses: if statuses.iter().all(|status| *status == 1) { Vec::new() } else { statuses }.into(),
                    names: named.then_some(names),
                    attempt: 2,
                    kernel: "test".to_owned(),
                    identities: identities.finish(),
                }
            },
        )
    }
}
