//! What an object store says of changes: each object that a notification names is forgotten, for every tenant.
//!
//! Understood are the notifications of Amazon S3 and of what imitates it (MinIO, Ceph, …): `{"Records": […]}`, as SQS, webhooks and
//! functions get it; the same within the envelope of SNS; and the events of EventBridge.

use std::sync::{Arc, OnceLock};

use hashmesh::tasks::s3_uri;
use hashmesh_runtime::telemetry::{self, Repeated};
use serde_json::Value;

use super::{Entries, StoredError};

static NOT_NOTED: Repeated = Repeated::new();

/// More than S3 puts into one.
const MAX_RECORDS: usize = 1_000;

/// Where notifications go. Clones share it; until the Cache service that it was given to runs, nothing can be told.
#[derive(Clone, Debug, Default)]
pub struct CacheEvents(Arc<OnceLock<Arc<Entries>>>);

/// Why a notification was not taken.
#[derive(Debug, thiserror::Error)]
pub enum EventError {
    /// The service is not ready, or keeps no digests.
    #[error("this Cache service keeps no digests, or has just started")]
    NotThere,
    /// It is no notification.
    #[error("wanted a notification of an S3 store as JSON, found something else: {problem}")]
    Malformed {
        /// What is wrong with it.
        problem: String,
    },
    /// Postgres has not noted it.
    #[error("the database cannot be used; send it again")]
    NotStored,
}

impl CacheEvents {
    pub(crate) fn begin(&self, entries: &Arc<Entries>) {
        // There is one service for one of these.
        let _ = self.0.set(Arc::clone(entries));
    }

    /// Forgets what a notification names. How many objects that are.
    ///
    /// # Errors
    /// [`EventError`]: then nothing, or not all, was forgotten; the same may be sent again.
    pub async fn notify(&self, body: &[u8]) -> Result<usize, EventError> {
        let entries = self.0.get().ok_or(EventError::NotThere)?;
        let uris = objects(body)?;
        let count = uris.len();
        for uri in uris {
            let forgotten = entries.invalidate(String::new(), uri, false).await;
            forgotten.map_err(|error: StoredError| {
                // The store sends it again, and others.
                if let Some(left_out) = NOT_NOTED.failed() {
                    let error = telemetry::chain(&error);
                    tracing::warn!(error, left_out, "a change of an object was not noted");
                }
                EventError::NotStored
            })?;
        }
        Ok(count)
    }
}

/// The URIs of the objects that a notification names.
fn objects(body: &[u8]) -> Result<Vec<String>, EventError> {
    let malformed = |problem: &str| EventError::Malformed { problem: problem.to_owned() };
    let document: Value = serde_json::from_slice(body).map_err(|error| malformed(&error.to_string()))?;
    if let Some(message) = document.get("Message").and_then(Value::as_str) {
        // Of SNS; not again within itself.
        let inner: Value = serde_json::from_str(message).map_err(|error| malformed(&error.to_string()))?;
        return named(&inner);
    }
    named(&document)
}

fn named(document: &Value) -> Result<Vec<String>, EventError> {
    let malformed = |problem: String| EventError::Malformed { problem };
    if document.get("Event").and_then(Value::as_str) == Some("s3:TestEvent") {
        return Ok(Vec::new());
    }
    let text = |value: &Value, path: &str| value.pointer(path).and_then(Value::as_str).map(str::to_owned);
    if let Some(detail) = document.get("detail") {
        // EventBridge encodes nothing.
        let object = text(detail, "/bucket/name").zip(text(detail, "/object/key"));
        let (bucket, key) = object.ok_or_else(|| malformed("detail without bucket.name and object.key".to_owned()))?;
        return Ok(vec![s3_uri(&bucket, key.as_bytes())]);
    }
    let records = document.get("Records").and_then(Value::as_array);
    let records = records.ok_or_else(|| malformed("it has neither Records nor detail".to_owned()))?;
    if records.len() > MAX_RECORDS {
        return Err(malformed(format!("it has {} Records, at most {MAX_RECORDS} are taken", records.len())));
    }
    let of_record = |(place, record): (usize, &Value)| {
        let object = text(record, "/s3/bucket/name").zip(text(record, "/s3/object/key"));
        let (bucket, key) =
            object.ok_or_else(|| malformed(format!("Records[{place}] without s3.bucket.name and s3.object.key")))?;
        Ok(s3_uri(&bucket, &form_decoded(&key)))
    };
    records.iter().enumerate().map(of_record).collect()
}

/// Keys are encoded as in a form: `+` is a space.
fn form_decoded(key: &str) -> Vec<u8> {
    let spaced: Vec<u8> = key.bytes().map(|byte| if byte == b'+' { b' ' } else { byte }).collect();
    // What is not encoded rightly stands for itself.
    hashmesh::tasks::percent_decoded(&spaced).unwrap_or(spaced)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn record(bucket: &str, key: &str) -> Value {
        json!({ "eventName": "ObjectCreated:Put", "s3": { "bucket": { "name": bucket }, "object": { "key": key } } })
    }

    fn uris(document: &Value) -> Vec<String> {
        objects(document.to_string().as_bytes()).unwrap()
    }

    #[test]
    fn notifications_of_every_kind_name_their_objects() {
        let records = json!({ "Records": [record("b", "a+b%2Bc/%C3%BC"), record("c", "100%25")] });
        let wanted = ["s3://b/a%20b%2Bc/%C3%BC", "s3://c/100%25"];
        assert_eq!(uris(&records), wanted);
        assert_eq!(uris(&json!({ "Type": "Notification", "Message": records.to_string() })), wanted);
        let bridge = json!({ "detail-type": "Object Deleted", "detail": { "bucket": { "name": "b" }, "object": { "key": "a+b" } } });
        assert_eq!(uris(&bridge), ["s3://b/a%2Bb"]);
        assert!(uris(&json!({ "Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": "b" })).is_empty());
        assert!(uris(&json!({ "Records": [] })).is_empty());
    }

    #[test]
    fn what_is_no_notification_is_refused_and_so_is_one_that_is_too_long() {
        for body in [
            "",
            "[]",
            "{}",
            "{\"Records\":{}}",
            "{\"Records\":[{}]}",
            "{\"Message\":\"no JSON\"}",
            "{\"Message\":\"{}\"}",
            "{\"detail\":{\"bucket\":{\"name\":\"b\"}}}",
        ] {
            assert!(matches!(objects(body.as_bytes()), Err(EventError::Malformed { .. })), "{body}");
        }
        let of = |count: usize| json!({ "Records": vec![record("b", "k"); count] }).to_string();
        assert!(objects(of(MAX_RECORDS).as_bytes()).is_ok() && objects(of(MAX_RECORDS + 1).as_bytes()).is_err());
    }

    #[tokio::test]
    async fn nothing_is_taken_before_there_is_somebody_to_tell() {
        assert!(matches!(CacheEvents::default().notify(b"{\"Records\":[]}").await, Err(EventError::NotThere)));
    }
}
