//! Outcomes as lines.

use std::time::{Duration, UNIX_EPOCH};

use hashmesh::{
    algorithm::stride,
    v1::{Algorithm, OutcomeStatus, PackedNames, PackedOutcomes, TaskError},
};
use serde::{Serialize, Serializer, ser::SerializeMap as _};

use super::name::json_key;

/// One task's outcome, borrowed from columns.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row<'a> {
    pub(super) position: u64,
    pub(super) name: &'a [u8],
    pub(super) status: OutcomeStatus,
    /// Of the input, in bytes, where it is known.
    pub(super) size: Option<u64>,
    /// Of the object; empty where there is none.
    etag: &'a str,
    version: &'a str,
    /// When the object was last changed, in nanoseconds since 1970.
    modified: Option<i64>,
    /// Its digests came from the cache.
    cached: bool,
    /// In the submission's order.
    pub(super) algorithms: &'a [Algorithm],
    /// Concatenated; empty if the task failed.
    digests: &'a [u8],
    pub(super) error: Option<&'a TaskError>,
}

impl<'a> Row<'a> {
    /// Each algorithm with its digest.
    pub(super) fn digests(&self) -> impl Iterator<Item = (Algorithm, &'a [u8])> + Clone + use<'a> {
        let mut rest = self.digests;
        self.algorithms.iter().map_while(move |algorithm| {
            let (digest, tail) = rest.split_at_checked(algorithm.digest_bytes())?;
            rest = tail;
            Some((*algorithm, digest))
        })
    }

    /// Why the task failed, for people.
    pub(super) fn failure(&self) -> String {
        match self.error {
            Some(error) => format!("{} ({})", error.message, error.reason),
            None => "failed without a reason".to_owned(),
        }
    }
}

/// Hands each outcome to `visit`, by position. Nothing is allocated per task.
pub(super) fn for_each<'a, E>(
    outcomes: &'a PackedOutcomes,
    algorithms: &'a [Algorithm],
    mut visit: impl FnMut(Row<'a>) -> Result<(), E>,
) -> Result<(), E> {
    let stride = stride(algorithms);
    let mut names = texts(outcomes.names.as_ref());
    let identities = outcomes.identities.as_ref();
    let mut etags = texts(identities.and_then(|identities| identities.etags.as_ref()));
    let mut versions = texts(identities.and_then(|identities| identities.versions.as_ref()));
    let mut failures = outcomes.failures.iter().peekable();
    for index in 0..outcomes.task_count {
        let (name, etag, version) = (next(&mut names), next(&mut etags), next(&mut versions));
        let modified = identities.and_then(|all| all.modify_times.get(index as usize)).filter(|nanos| **nanos != 0);
        let failure = failures.next_if(|failure| failure.offset == index);
        let status = outcomes.status_at(index as usize);
        let start = index as usize * stride;
        let digests = match status {
            OutcomeStatus::Succeeded | OutcomeStatus::Mismatched => outcomes.digests.get(start..start + stride),
            OutcomeStatus::Failed | OutcomeStatus::Unspecified => None,
        };
        visit(Row {
            position: outcomes.first_position + u64::from(index),
            name,
            status,
            size: identities
                .filter(|_| status != OutcomeStatus::Failed)
                .and_then(|all| all.sizes.get(index as usize).copied()),
            etag: str::from_utf8(etag).unwrap_or_default(),
            version: str::from_utf8(version).unwrap_or_default(),
            modified: modified.copied(),
            cached: identities.and_then(|all| all.cached.get(index as usize)).is_some_and(|cached| *cached != 0),
            algorithms,
            digests: digests.unwrap_or_default(),
            error: failure.and_then(|failure| failure.error.as_ref()),
        })?;
    }
    Ok(())
}

/// A column of texts: what is left of their bytes, and of their lengths.
type Texts<'a> = (&'a [u8], std::slice::Iter<'a, u32>);

fn texts(column: Option<&PackedNames>) -> Texts<'_> {
    column.map_or((&[][..], [].iter()), |texts| (&texts.data[..], texts.lengths.iter()))
}

fn next<'a>((data, lengths): &mut Texts<'a>) -> &'a [u8] {
    let (text, rest) = data.split_at(data.len().min(lengths.next().map_or(0, |length| *length as usize)));
    *data = rest;
    text
}

/// The name of a status in JSON.
pub(super) fn status_name(status: OutcomeStatus) -> &'static str {
    match status {
        OutcomeStatus::Unspecified => "unspecified",
        OutcomeStatus::Succeeded => "succeeded",
        OutcomeStatus::Mismatched => "mismatched",
        OutcomeStatus::Failed => "failed",
    }
}

/// An outcome as the object that scripts rely on: `name` or `raw_name_base64`, `position`, `outcome`, `digests`; `size`,
/// `etag`, `version` and `modified` of the object where they are known; `cached` if its bytes were not read; and `error` if it
/// failed.
#[derive(Debug)]
pub(super) struct JsonRow<'a> {
    pub(super) row: Row<'a>,
    /// Named where outcomes of several submissions are mixed.
    pub(super) submission_id: Option<&'a str>,
}

impl Serialize for JsonRow<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut object = serializer.serialize_map(None)?;
        let (key, name) = json_key(self.row.name);
        object.serialize_entry(key, &name)?;
        if let Some(submission_id) = self.submission_id {
            object.serialize_entry("submission_id", submission_id)?;
        }
        object.serialize_entry("position", &self.row.position)?;
        object.serialize_entry("outcome", status_name(self.row.status))?;
        object.serialize_entry("digests", &JsonDigests(&self.row))?;
        if let Some(size) = self.row.size {
            object.serialize_entry("size", &size)?;
        }
        for (key, text) in [("etag", self.row.etag), ("version", self.row.version)] {
            if !text.is_empty() {
                object.serialize_entry(key, text)?;
            }
        }
        if let Some(nanos) = self.row.modified {
            object.serialize_entry("modified", &time(nanos))?;
        }
        if self.row.cached {
            object.serialize_entry("cached", &true)?;
        }
        if self.row.status == OutcomeStatus::Failed {
            object.serialize_entry("error", &JsonError(self.row.error))?;
        }
        object.end()
    }
}

/// RFC 3339, as far as the time is known: to the second or to the nanosecond.
fn time(nanos: i64) -> String {
    let since = Duration::from_nanos(nanos.unsigned_abs());
    let time = if nanos < 0 { UNIX_EPOCH.checked_sub(since) } else { UNIX_EPOCH.checked_add(since) };
    humantime::format_rfc3339(time.unwrap_or(UNIX_EPOCH)).to_string()
}

struct JsonDigests<'a>(&'a Row<'a>);

impl Serialize for JsonDigests<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut object = serializer.serialize_map(None)?;
        for (algorithm, digest) in self.0.digests() {
            object.serialize_entry(algorithm.name(), &hex::encode(digest))?;
        }
        object.end()
    }
}

struct JsonError<'a>(Option<&'a TaskError>);

impl Serialize for JsonError<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut object = serializer.serialize_map(Some(2))?;
        object.serialize_entry("reason", self.0.map_or("", |error| &error.reason))?;
        object.serialize_entry("message", self.0.map_or("", |error| &error.message))?;
        object.end()
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use hashmesh::v1::{PackedFailure, PackedNames};
    use serde_json::json;

    use super::*;

    #[test]
    fn every_outcome_becomes_one_object() {
        let error = TaskError { reason: "SOURCE_NOT_FOUND".into(), message: "no such file".into() };
        let outcomes = PackedOutcomes {
            first_position: 7,
            task_count: 3,
            algorithms: vec![Algorithm::Md5 as i32],
            digests: Bytes::from([[1; 16], [0; 16], [3; 16]].concat()),
            statuses: Bytes::from_static(&[1, 3, 2]),
            failures: vec![PackedFailure { offset: 1, error: Some(error) }],
            names: Some(PackedNames { data: Bytes::from_static(b"ab\xffc"), lengths: vec![1, 2, 1] }),
            ..PackedOutcomes::default()
        };
        let mut seen = Vec::new();
        for_each(&outcomes, &[Algorithm::Md5], |row| {
            serde_json::to_value(JsonRow { row, submission_id: None }).map(|value| seen.push(value))
        })
        .unwrap();
        let error = json!({"reason": "SOURCE_NOT_FOUND", "message": "no such file"});
        assert_eq!(
            seen,
            [
                json!({"name": "a", "position": 7, "outcome": "succeeded", "digests": {"md5": "01".repeat(16)}}),
                json!({"raw_name_base64": "Yv8=", "position": 8, "outcome": "failed", "digests": {}, "error": error}),
                json!({"name": "c", "position": 9, "outcome": "mismatched", "digests": {"md5": "03".repeat(16)}}),
            ]
        );
    }
}
