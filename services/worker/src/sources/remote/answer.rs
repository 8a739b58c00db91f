//! What an answer's status and headers say.

use std::time::{Duration, SystemTime};

use hashmesh::{error::TaskReason, v1::ObjectIdentity};
use http::{HeaderMap, StatusCode, Version, header};

use super::host::throttled;
use crate::sources::Failure;

/// A host that says 429 or 503 and not for how long.
const USUAL_REST: Duration = Duration::from_secs(1);

/// Longer ones are no entity tags; they are stored with each outcome.
const MAX_TAG_BYTES: usize = 255;

/// A body that is about to be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Opened {
    /// `size` is 0 where `total` is not known.
    pub(super) identity: ObjectIdentity,
    /// The whole object's length, if it was said.
    pub(super) total: Option<u64>,
    /// The body's first byte is this one of the object.
    pub(super) start: u64,
    /// Behind its last one, if it was said: a body that goes by its own framing says nothing.
    pub(super) end: Option<u64>,
}

/// Why a status is none of success, and whether that speaks against the host.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) failure: Failure,
    pub(super) unwell: bool,
    /// It asks for a rest of this length.
    pub(super) rest: Option<Duration>,
}

impl Opened {
    /// What a successful answer opens. `asked_from` is where the range that was asked for began; `None`: none was.
    pub(super) fn of(
        status: StatusCode,
        version: Version,
        headers: &HeaderMap,
        asked_from: Option<u64>,
    ) -> Result<Self, Failure> {
        let length = number(headers, header::CONTENT_LENGTH.as_str());
        let mut identity = identity(headers);
        if status == StatusCode::PARTIAL_CONTENT {
            let Some((start, end, total)) = content_range(headers) else { return Err(nonsense("range")) };
            if asked_from != Some(start) || length.is_some_and(|length| length != end - start) {
                return Err(nonsense("range"));
            }
            identity.size = total.unwrap_or(0);
            return Ok(Self { identity, total, start, end: Some(end) });
        }
        let framed = version > Version::HTTP_11
            || headers.get_all(header::TRANSFER_ENCODING).iter().any(|coding| coding.as_bytes().ends_with(b"chunked"));
        if length.is_none() && !framed {
            let message =
                "the object's host does not say how long it is, so that a whole one cannot be told from a cut one";
            return Err(Failure::permanent(TaskReason::SourceUnreadable, message));
        }
        let total = length.filter(|_| !framed);
        identity.size = total.unwrap_or(0);
        Ok(Self { identity, total, start: 0, end: total })
    }
}

/// What is said of the object, its size apart.
fn identity(headers: &HeaderMap) -> ObjectIdentity {
    let text =
        |name| headers.get(name).and_then(|value| value.to_str().ok()).filter(|text| text.len() <= MAX_TAG_BYTES);
    let modified = text("last-modified").and_then(|date| httpdate::parse_http_date(date).ok());
    ObjectIdentity {
        size: 0,
        etag: text("etag").unwrap_or_default().to_owned(),
        version: text("x-amz-version-id").unwrap_or_default().to_owned(),
        modify_time: modified.map(Into::into),
        cached: false,
    }
}

/// When a host has answered, by its own clock.
pub(super) fn answered_at(headers: &HeaderMap) -> SystemTime {
    let date = headers.get(header::DATE).and_then(|date| date.to_str().ok());
    date.and_then(|date| httpdate::parse_http_date(date).ok()).unwrap_or_else(SystemTime::now)
}

/// An answer of 304: somebody asked for it, and it means what was asked.
pub(super) fn check_not_modified(headers: &HeaderMap, same_as: Option<&str>) -> Result<(), Failure> {
    let etag = headers.get(header::ETAG).map(|etag| etag.to_str().unwrap_or_default());
    match same_as {
        Some(asked) if etag.is_none_or(|etag| etag == asked) => Ok(()),
        _ => Err(nonsense("entity tag")),
    }
}

/// `bytes START-LAST/TOTAL`, as from, up to (exclusive), and total.
fn content_range(headers: &HeaderMap) -> Option<(u64, u64, Option<u64>)> {
    let range = headers.get(header::CONTENT_RANGE)?.to_str().ok()?.strip_prefix("bytes ")?;
    let (range, total) = range.split_once('/')?;
    let (start, last) = range.split_once('-')?;
    let (start, end) = (start.parse::<u64>().ok()?, last.parse::<u64>().ok()?.checked_add(1)?);
    let total = if total == "*" { None } else { Some(total.parse().ok()?) };
    (start < end && total.is_none_or(|total| end <= total)).then_some((start, end, total))
}

/// The object's length by an answer of 416: `bytes */TOTAL`.
pub(super) fn unsatisfied_total(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_RANGE)?.to_str().ok()?.strip_prefix("bytes */")?.parse().ok()
}

fn number(headers: &HeaderMap, name: &str) -> Option<u64> {
    headers.get(name)?.to_str().ok()?.trim().parse().ok()
}

/// What an answer without success means.
pub(super) fn refusal(status: StatusCode, headers: &HeaderMap, now: SystemTime) -> Refusal {
    let permanent =
        |reason, message: &str| Refusal { failure: Failure::permanent(reason, message), unwell: false, rest: None };
    match status {
        StatusCode::NOT_FOUND | StatusCode::GONE => permanent(TaskReason::SourceNotFound, "no such object"),
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::PROXY_AUTHENTICATION_REQUIRED => {
            permanent(TaskReason::SourceDenied, "the worker may not read the object")
        }
        StatusCode::PRECONDITION_FAILED => Refusal { failure: changed("object"), unwell: false, rest: None },
        StatusCode::TOO_MANY_REQUESTS => rest(headers, now),
        StatusCode::SERVICE_UNAVAILABLE if headers.contains_key(header::RETRY_AFTER) => rest(headers, now),
        StatusCode::REQUEST_TIMEOUT => {
            let failure = Failure::retryable(TaskReason::SourceTimedOut, "the object's host gave up waiting");
            Refusal { failure, unwell: false, rest: None }
        }
        _ if status.is_server_error() => {
            let message = format!("the object's host failed, with status {}", status.as_u16());
            let failure = Failure::retryable(TaskReason::SourceUnreadable, message);
            Refusal { failure, unwell: true, rest: None }
        }
        _ => {
            let message = format!("the object's host answered with status {}", status.as_u16());
            permanent(TaskReason::SourceUnreadable, &message)
        }
    }
}

fn rest(headers: &HeaderMap, now: SystemTime) -> Refusal {
    let rest = retry_after(headers, now).unwrap_or(USUAL_REST);
    Refusal { failure: throttled(rest), unwell: false, rest: Some(rest) }
}

/// In seconds, or as a date.
fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    let seconds = text.parse().ok().map(Duration::from_secs);
    seconds.or_else(|| httpdate::parse_http_date(text).ok()?.duration_since(now).ok())
}

/// It is not what it was.
pub(super) fn changed(what: &str) -> Failure {
    Failure::retryable(TaskReason::SourceChanged, format!("the {what} changed while it was read"))
}

/// The host does not keep to HTTP.
fn nonsense(what: &str) -> Failure {
    let message = format!("the object's host answered with another {what} than it was asked for");
    Failure::retryable(TaskReason::SourceUnreadable, message)
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &str)| {
            (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())
        };
        pairs.iter().map(pair).collect()
    }

    fn opened(status: u16, pairs: &[(&'static str, &str)], asked: Option<u64>) -> Result<Opened, Failure> {
        Opened::of(StatusCode::from_u16(status).unwrap(), Version::HTTP_11, &headers(pairs), asked)
    }

    #[test]
    fn a_whole_object_says_what_it_is() {
        let said = [
            ("content-length", "12"),
            ("etag", "\"abc\""),
            ("x-amz-version-id", "v1"),
            ("last-modified", "Sun, 06 Nov 1994 08:49:37 GMT"),
        ];
        let whole = opened(200, &said, None).unwrap();
        assert_eq!((whole.total, whole.start, whole.end), (Some(12), 0, Some(12)));
        let ObjectIdentity { size, etag, version, modify_time, .. } = whole.identity;
        assert_eq!(
            (size, etag.as_str(), version.as_str(), modify_time.unwrap().seconds),
            (12, "\"abc\"", "v1", 784_111_777)
        );
        let long = "x".repeat(MAX_TAG_BYTES + 1);
        assert_eq!(opened(200, &[("content-length", "0"), ("etag", &long)], None).unwrap().identity.etag, "");
    }

    #[test]
    fn a_body_without_a_length_is_taken_only_if_its_end_can_be_told() {
        let chunked = opened(200, &[("transfer-encoding", "gzip, chunked")], None).unwrap();
        assert_eq!((chunked.total, chunked.end), (None, None));
        assert_eq!(opened(200, &[], None).unwrap_err().reason, "SOURCE_UNREADABLE");
    }

    #[test]
    fn a_part_must_be_the_one_that_was_asked_for() {
        let part = opened(206, &[("content-range", "bytes 5-9/20")], Some(5)).unwrap();
        assert_eq!((part.total, part.start, part.end, part.identity.size), (Some(20), 5, Some(10), 20));
        assert_eq!(opened(206, &[("content-range", "bytes 5-9/*")], Some(5)).unwrap().total, None);
        for (range, length) in [
            ("bytes 4-9/20", "6"),
            ("bytes 5-9/20", "6"),
            ("bytes 5-4/20", "0"),
            ("bytes 5-25/20", "21"),
            ("bytes 5-18446744073709551615/*", "1"),
            ("lines 5-9/20", "5"),
            ("5-9/20", "5"),
        ] {
            assert!(opened(206, &[("content-range", range), ("content-length", length)], Some(5)).is_err(), "{range}");
        }
        assert!(opened(206, &[], Some(5)).is_err());
        assert!(opened(206, &[("content-range", "bytes 0-9/10")], None).is_err(), "nobody asked for a part");
        assert_eq!(unsatisfied_total(&headers(&[("content-range", "bytes */7")])), Some(7));
        assert_eq!(unsatisfied_total(&headers(&[])), None);
    }

    #[test]
    fn statuses_map_to_the_published_reasons() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
        for (status, reason, retryable, unwell) in [
            (404, "SOURCE_NOT_FOUND", false, false),
            (410, "SOURCE_NOT_FOUND", false, false),
            (401, "SOURCE_DENIED", false, false),
            (403, "SOURCE_DENIED", false, false),
            (412, "SOURCE_CHANGED", true, false),
            (408, "SOURCE_TIMED_OUT", true, false),
            (429, "SOURCE_THROTTLED", true, false),
            (500, "SOURCE_UNREADABLE", true, true),
            (503, "SOURCE_UNREADABLE", true, true),
            (400, "SOURCE_UNREADABLE", false, false),
            (204, "SOURCE_UNREADABLE", false, false),
            (304, "SOURCE_UNREADABLE", false, false),
        ] {
            let found = refusal(StatusCode::from_u16(status).unwrap(), &HeaderMap::new(), now);
            let Failure { reason: said, retryable: again, .. } = found.failure;
            assert_eq!((said, again, found.unwell), (reason, retryable, unwell), "{status}");
        }
        for (after, rest) in [("7", 7), ("Sun, 06 Nov 1994 08:49:47 GMT", 10), ("soon", 1), ("-1", 1)] {
            let found = refusal(StatusCode::SERVICE_UNAVAILABLE, &headers(&[("retry-after", after)]), now);
            assert_eq!(found.failure.reason, "SOURCE_THROTTLED");
            assert_eq!(
                (found.rest, found.failure.retry_after),
                (Some(Duration::from_secs(rest)), found.rest),
                "{after}"
            );
        }
    }
}
