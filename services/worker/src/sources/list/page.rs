//! A page while it fills up.

use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use hashmesh::{
    error::TaskReason,
    limits::{MAX_ALGORITHMS, MAX_NAME_BYTES},
    outcomes::IdentitiesBuilder,
    queue::v1::SourcePage,
    tasks::{KIND_OBJECT, validated_listing},
    v1::{Algorithm, ListedObjects, ObjectIdentity, PackedNames, PackedTasks},
};
use hashmesh_runtime::telemetry::Repeated;

use crate::sources::Failure;

/// Whoever has such a bucket listed does so as often as he likes.
static UNFIT: Repeated = Repeated::at_most(10);

/// Objects in order, and how far the listing is.
#[derive(Debug)]
pub(crate) struct Page {
    max_tasks: usize,
    max_bytes: usize,
    uris: Vec<u8>,
    lengths: Vec<u32>,
    expected: Expected,
    listed: Listed,
    cursor: Vec<u8>,
    end: bool,
}

/// What the objects were.
#[derive(Debug)]
struct Listed {
    /// One per object.
    identities: Vec<Option<ObjectIdentity>>,
    /// Who says so; empty: nobody.
    domain: String,
    /// Before the first of them was asked for.
    since: SystemTime,
}

/// What an object's identity takes, about.
const IDENTITY_BYTES: usize = 64;

/// The columns of the digests that the objects ought to have.
#[derive(Debug, Default)]
struct Expected {
    digests: Vec<u8>,
    algorithms: Vec<i32>,
    /// One per object.
    counts: Vec<u8>,
}

/// Why an object is not on the page.
#[derive(Debug)]
pub(crate) enum PushError {
    /// The page is full.
    Full,
    /// It can be on none.
    Failed(Failure),
}

impl Page {
    pub(super) fn new(max_tasks: usize, max_bytes: usize, cursor: &[u8]) -> Self {
        Self {
            max_tasks: max_tasks.max(1),
            max_bytes,
            uris: Vec::new(),
            lengths: Vec::new(),
            expected: Expected::default(),
            listed: Listed { identities: Vec::new(), domain: String::new(), since: SystemTime::now() },
            cursor: cursor.to_vec(),
            end: false,
        }
    }

    /// The next object, at `place`.
    pub(crate) fn push(&mut self, uri: &str, place: &[u8]) -> Result<(), PushError> {
        if uri.len() > MAX_NAME_BYTES {
            let message = format!(
                "an object's URI has {} bytes, more than the {MAX_NAME_BYTES} of a name; it begins with {:?}",
                uri.len(),
                &uri[..200]
            );
            return Err(PushError::Failed(Failure::permanent(TaskReason::SourceUnreadable, message)));
        }
        let described = if self.listed.domain.is_empty() { 0 } else { IDENTITY_BYTES * (self.lengths.len() + 1) };
        let bytes = 2 * (self.uris.len() + uri.len()) + self.expected.digests.len() + described;
        let full = self.lengths.len() >= self.max_tasks || bytes > self.max_bytes;
        // One always fits.
        if full && !self.lengths.is_empty() {
            return Err(PushError::Full);
        }
        self.uris.extend_from_slice(uri.as_bytes());
        // At most `MAX_NAME_BYTES`.
        self.lengths.push(uri.len() as u32);
        self.expected.counts.push(0);
        self.listed.identities.push(None);
        self.pass(place);
        Ok(())
    }

    /// Whoever lists says what the objects are. `domain` says who that is.
    pub(crate) fn listed_by(&mut self, domain: &str) {
        domain.clone_into(&mut self.listed.domain);
    }

    /// The object that was pushed last is this.
    pub(crate) fn describe(&mut self, identity: Option<ObjectIdentity>) {
        if let Some(last) = self.listed.identities.last_mut() {
            *last = identity;
        }
    }

    /// The object that was pushed last.
    pub(super) fn last(&self) -> Option<&[u8]> {
        self.uris.get(self.uris.len() - *self.lengths.last()? as usize..)
    }

    /// The object that was pushed last ought to have this digest. False: it has one of this algorithm already, or too many.
    pub(super) fn expect(&mut self, algorithm: Algorithm, digest: &[u8]) -> bool {
        let Expected { digests, algorithms, counts } = &mut self.expected;
        let Some(count) = counts.last_mut() else { return false };
        let others = &algorithms[algorithms.len() - usize::from(*count)..];
        if usize::from(*count) >= MAX_ALGORITHMS || others.contains(&algorithm.into()) {
            return false;
        }
        *count += 1;
        digests.extend_from_slice(digest);
        algorithms.push(algorithm.into());
        true
    }

    /// Takes the object back that was pushed last: all before `place` was looked at. The first stays.
    pub(super) fn take_back(&mut self, place: &[u8]) {
        if self.lengths.len() < 2 {
            return;
        }
        let length = self.lengths.pop().map_or(0, |length| length as usize);
        self.uris.truncate(self.uris.len() - length);
        self.listed.identities.pop();
        let Expected { digests, algorithms, counts } = &mut self.expected;
        for _ in 0..counts.pop().unwrap_or_default() {
            let algorithm = algorithms.pop().and_then(Algorithm::known);
            digests.truncate(digests.len() - algorithm.map_or(0, Algorithm::digest_bytes));
        }
        self.pass(place);
    }

    /// Everything up to this place was looked at.
    pub(crate) fn pass(&mut self, place: &[u8]) {
        self.cursor.clear();
        self.cursor.extend_from_slice(place);
    }

    /// The last place that was looked at; empty: none was.
    pub(crate) fn cursor(&self) -> &[u8] {
        &self.cursor
    }

    /// Nothing follows.
    pub(crate) fn ends(&mut self) {
        self.end = true;
    }

    /// The page as it is sent, if listing it went well or there is something on it: what failed is then asked for next.
    pub(super) fn finish(self, listed: Result<(), Failure>) -> Result<SourcePage, Failure> {
        if self.lengths.is_empty() {
            listed?;
        }
        let Self { uris, lengths, expected, listed, cursor, end, .. } = self;
        let batch = if lengths.is_empty() {
            None
        } else {
            let data = Bytes::from(uris);
            let tasks = PackedTasks {
                data: data.clone(),
                kinds: vec![KIND_OBJECT; lengths.len()].into(),
                names: Some(PackedNames { data, lengths: lengths.clone() }),
                lengths,
                expected_counts: if expected.digests.is_empty() { Bytes::new() } else { expected.counts.into() },
                expected: expected.digests.into(),
                expected_algorithms: expected.algorithms,
                ..PackedTasks::default()
            };
            let unfit = |violation| {
                if let Some(left_out) = UNFIT.failed() {
                    tracing::error!(?violation, left_out, "a listed object makes no task");
                }
                let message = "a listed object makes no task; the worker's log says why";
                Failure::permanent(TaskReason::SourceUnreadable, message)
            };
            Some(validated_listing(0, tasks, listed.finish()).map_err(unfit)?)
        };
        Ok(SourcePage { batch, cursor: cursor.into(), end, ..SourcePage::default() })
    }
}

impl Listed {
    /// As it travels with the tasks. `None`: nothing is known of any.
    fn finish(self) -> Option<ListedObjects> {
        let mut builder = IdentitiesBuilder::default();
        self.identities.iter().for_each(|identity| builder.push(identity.as_ref()));
        let identities = Some(builder.finish()?);
        let since = self.since.duration_since(UNIX_EPOCH).ok()?;
        Some(ListedObjects { identities, listed_at_ms: i64::try_from(since.as_millis()).ok()?, domain: self.domain })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_holds_so_many_tasks_or_so_many_bytes_and_one_always() {
        let mut page = Page::new(2, 1_000, b"before");
        assert_eq!(page.cursor(), b"before");
        page.push("s3://bucket/a", b"a").unwrap();
        page.push("s3://bucket/b", b"b").unwrap();
        assert!(matches!(page.push("s3://bucket/c", b"c"), Err(PushError::Full)));
        assert_eq!(page.cursor(), b"b", "what did not fit is listed again");

        let mut small = Page::new(10, 52, b"");
        small.push("s3://bucket/a", b"a").unwrap();
        small.push("s3://bucket/b", b"b").unwrap();
        assert!(matches!(small.push("s3://bucket/c", b"c"), Err(PushError::Full)));
        assert!(Page::new(0, 0, b"").push("s3://bucket/a", b"a").is_ok());
    }

    #[test]
    fn an_object_whose_uri_is_no_name_fails_the_listing_rather_than_be_left_out() {
        let mut page = Page::new(10, 1 << 20, b"");
        let uri = |length: usize| format!("s3://bucket/{}", "k".repeat(length - 12));
        page.push(&uri(MAX_NAME_BYTES), b"a").unwrap();
        let Err(PushError::Failed(failure)) = page.push(&uri(MAX_NAME_BYTES + 1), b"b") else { panic!("it fits") };
        assert!(!failure.retryable && failure.message.contains("4097"), "{failure:?}");
    }

    #[test]
    fn a_page_is_a_batch_of_objects_named_by_their_uris() {
        let mut page = Page::new(10, 1_000, b"");
        page.push("s3://bucket/a", b"a").unwrap();
        page.push("s3://bucket/b%20c", b"b c").unwrap();
        page.ends();
        let SourcePage { batch, cursor, end, failure, .. } = page.finish(Ok(())).unwrap();
        let batch = batch.unwrap();
        assert_eq!((batch.task_count, batch.byte_count, &*batch.reference_prefix), (2, 60, "s3://bucket/"));
        assert_eq!((&*cursor, end, failure), (&b"b c"[..], true, None));
        assert_eq!(Page::new(10, 10, b"x").finish(Ok(())).unwrap().batch, None);
        let failed = || Err(Failure::cannot_reach());
        assert!(Page::new(10, 10, b"x").finish(failed()).is_err());
        let mut page = Page::new(10, 1_000, b"");
        page.push("s3://bucket/a", b"a").unwrap();
        assert!(page.finish(failed()).unwrap().batch.is_some());
    }
}
