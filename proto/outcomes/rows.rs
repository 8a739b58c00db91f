//! Columns to rows.

use crate::v1::{Digest, Outcome, OutcomeStatus, PackedIdentities, PackedOutcomes};

impl PackedOutcomes {
    /// The outcomes as rows, with lowercase hexadecimal digests.
    #[must_use]
    pub fn into_rows(self) -> Vec<Outcome> {
        let mut names = self.names.iter().flat_map(crate::v1::PackedNames::iter);
        let mut failures = self.failures.iter().peekable();
        let mut identities = self.identities.iter().flat_map(PackedIdentities::rows);
        (0..self.task_count)
            .map(|index| {
                while failures.next_if(|failure| failure.offset < index).is_some() {}
                let failure = failures.next_if(|failure| failure.offset == index);
                let status = self.status_at(index as usize);
                let identity = identities.next().filter(|_| status != OutcomeStatus::Failed);
                // Names that are not UTF-8 travel in a field of their own.
                let name = names.next().unwrap_or_default();
                let (name, raw_name) = match std::str::from_utf8(&name) {
                    Ok(text) => (text.to_owned(), bytes::Bytes::new()),
                    Err(_) => (String::new(), name),
                };
                let digest = |(algorithm, digest)| Digest {
                    algorithm: i32::from(algorithm),
                    hex: hex::encode::<bytes::Bytes>(digest),
                };
                Outcome {
                    position: self.first_position.saturating_add(u64::from(index)),
                    sequence: self.sequence,
                    task: self.first_task.saturating_add(index),
                    name,
                    raw_name,
                    status: status.into(),
                    digests: self.digests_at(index as usize).map(digest).collect(),
                    error: failure
                        .filter(|_| status == OutcomeStatus::Failed)
                        .and_then(|failure| failure.error.clone()),
                    attempt: self.attempt,
                    identity,
                }
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        outcomes::samples,
        v1::{Algorithm, PackedNames},
    };

    proptest! {
        #[test]
        fn each_row_says_what_its_columns_say(outcomes in samples::outcomes(0..12)) {
            let rows = outcomes.clone().into_rows();
            prop_assert_eq!(rows.len(), outcomes.task_count as usize);
            let names: Vec<_> = outcomes.names.clone().unwrap_or_default().iter().collect();
            for (index, row) in rows.iter().enumerate() {
                prop_assert_eq!(row.position, outcomes.first_position + index as u64);
                prop_assert_eq!(row.task, 5 + index as u32);
                prop_assert_eq!(row.status(), outcomes.status_at(index));
                let name = if row.name.is_empty() { row.raw_name.clone() } else { row.name.clone().into() };
                prop_assert_eq!(name, names.get(index).cloned().unwrap_or_default());
                let failed = row.status() == OutcomeStatus::Failed;
                prop_assert_eq!(row.digests.is_empty(), failed);
                let reason = row.error.as_ref().map(|error| error.reason.clone());
                prop_assert_eq!(reason, failed.then(|| format!("REASON_{index}")));
            }
        }
    }

    #[test]
    fn digests_are_in_lowercase_hexadecimal_one_per_algorithm() {
        let outcomes = PackedOutcomes {
            task_count: 2,
            algorithms: vec![Algorithm::Md5.into(), Algorithm::Sha1.into()],
            digests: (0..72).map(|byte| byte + 0xa0).collect(),
            ..Default::default()
        };
        let second = &outcomes.into_rows()[1];
        assert_eq!(second.digests[0].hex, hex::encode((36 + 0xa0..52 + 0xa0).collect::<Vec<u8>>()));
        assert_eq!(second.digests[1].hex.len(), 40);
        assert_eq!(second.digests[1].algorithm(), Algorithm::Sha1);
    }

    #[test]
    fn torn_columns_lose_what_cannot_be_read_and_nothing_else() {
        let outcomes = PackedOutcomes {
            task_count: 3,
            algorithms: vec![Algorithm::Md5.into()],
            digests: vec![1; 40].into(),
            statuses: vec![1, 77].into(),
            names: Some(PackedNames { data: "ab".into(), lengths: vec![1, 9] }),
            ..Default::default()
        };
        let rows = outcomes.into_rows();
        assert_eq!(rows[0].digests.len(), 1);
        assert_eq!((rows[1].status(), rows[1].digests.len()), (OutcomeStatus::Unspecified, 0));
        assert_eq!((rows[2].status(), rows[2].digests.len()), (OutcomeStatus::Unspecified, 0));
        assert_eq!(rows.iter().map(|row| row.name.as_str()).collect::<Vec<_>>(), ["a", "", ""]);
    }
}
