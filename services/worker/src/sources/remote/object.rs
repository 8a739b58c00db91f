//! One object, from its first byte to its last, over as many requests as that takes.
//!
//! A connection that breaks is made again from where it broke, if the object can be told to be the same one (by a strong
//! entity tag, else by when it was changed): a drop at 19 of 20 GiB costs 1 GiB. What is not the same any more is an error.

use std::time::{Duration, SystemTime};

use hashmesh::{
    error::TaskReason,
    v1::{ByteRange, ObjectIdentity},
};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use http_body_util::BodyExt as _;
use tokio::time::{Instant, sleep, timeout};

use super::{
    Remote,
    answer::{Opened, answered_at, changed, check_not_modified, unsatisfied_total},
    ask::{Answer, Target, Trouble},
    feed::Sink,
};
use crate::sources::{Failure, Progress, Read, state};

/// Connections that break without a byte of progress, in a row.
const MAX_BREAKS: u32 = 3;

/// Before the second try; doubles.
const FIRST_DELAY: Duration = Duration::from_millis(100);

/// Who has waited that long without progress tries no more: the queue will, and takes who is silent for 60 s for dead.
const LONGEST_SILENCE: Duration = Duration::from_secs(10);

/// What is read of an object, and how far that has come.
pub(super) struct Reading<'a> {
    remote: &'a Remote,
    target: &'a Target,
    /// The first byte that is wanted, and the one behind the last; `None`: to the object's end.
    start: u64,
    end: Option<u64>,
    /// The next byte.
    place: u64,
    known: Option<Known>,
    /// The entity tag of what the cache knows: if it is still that, nothing is sent.
    same_as: Option<&'a str>,
    /// It is still that.
    same: bool,
    /// When the host has answered first, by its own clock.
    answered_at: SystemTime,
    progress: &'a (dyn Progress + Sync),
}

/// What the first answer said.
struct Known {
    identity: ObjectIdentity,
    total: Option<u64>,
}

impl<'a> Reading<'a> {
    /// Of the whole object, or of a range of it.
    pub(super) fn new(
        remote: &'a Remote,
        target: &'a Target,
        range: Option<ByteRange>,
        progress: &'a (dyn Progress + Sync),
    ) -> Result<Self, Failure> {
        let ByteRange { offset, length } = range.unwrap_or_default();
        let end = if length == 0 { None } else { Some(offset.checked_add(length).ok_or_else(|| too_short(None))?) };
        Ok(Self {
            remote,
            target,
            start: offset,
            end,
            place: offset,
            known: None,
            same_as: None,
            same: false,
            answered_at: SystemTime::UNIX_EPOCH,
            progress,
        })
    }

    /// If it is still the object with this strong entity tag, nothing of it is read.
    pub(super) fn unless(mut self, etag: Option<&'a str>) -> Self {
        self.same_as = etag;
        self
    }

    /// True if it is still the one of [`Reading::unless`].
    pub(super) fn is_same(&self) -> bool {
        self.same
    }

    /// Reads it all into `sink`.
    pub(super) async fn run(&mut self, sink: &mut impl Sink) -> Result<Read, Trouble> {
        let (mut breaks, mut moved_at) = (0_u32, Instant::now());
        loop {
            let from = self.place;
            let failure = match self.read_on(sink).await {
                Ok(()) => break,
                Err(Trouble::Broken(failure)) => failure,
                Err(other) => return Err(other),
            };
            if self.place > from {
                (breaks, moved_at) = (0, Instant::now());
            }
            breaks += 1;
            let again = self.place == self.start || self.condition().is_some();
            if !again || breaks >= MAX_BREAKS || moved_at.elapsed() > LONGEST_SILENCE {
                return Err(Trouble::Failed(failure));
            }
            sleep(FIRST_DELAY * (1 << (breaks - 1))).await;
        }
        let mut identity = self.identity();
        if identity.size == 0 && self.start == 0 && self.end.is_none() {
            // Its framing has told where it ends.
            identity.size = self.place;
        }
        let state = state::of_object(&identity, self.answered_at);
        Ok(Read { hashed_bytes: self.place - self.start, identity, state })
    }

    /// What the object is, as far as it was said.
    pub(super) fn identity(&self) -> ObjectIdentity {
        self.known.as_ref().map(|known| known.identity.clone()).unwrap_or_default()
    }

    /// Makes one request and reads what it brings.
    async fn read_on(&mut self, sink: &mut impl Sink) -> Result<(), Trouble> {
        let ranged = self.place > 0 || self.end.is_some();
        let Answer { response, mut turn } = self.remote.ask(self.target, &self.headers(ranged)).await?;
        turn.attempt.succeeded();
        let (parts, mut body) = response.into_parts();
        if parts.status == StatusCode::NOT_MODIFIED {
            check_not_modified(&parts.headers, self.same_as.filter(|_| self.place == self.start))?;
            self.same = true;
            return Ok(());
        }
        if parts.status == StatusCode::RANGE_NOT_SATISFIABLE {
            return self.nothing_there(unsatisfied_total(&parts.headers));
        }
        let opened = Opened::of(parts.status, parts.version, &parts.headers, ranged.then_some(self.place))?;
        if self.place == self.start {
            self.answered_at = answered_at(&parts.headers);
        }
        self.recognise(&opened)?;
        // A host that knows nothing of ranges sends all of it.
        let mut place = opened.start;
        if place < self.place && self.place > self.start {
            let message = "the connection broke, and the object's host sends nothing from the middle of an object";
            return Err(Failure::retryable(TaskReason::SourceUnreadable, message).into());
        }
        let stall = self.remote.limits.stall;
        loop {
            if self.end.is_some_and(|end| self.place >= end) {
                return Ok(());
            }
            let frame = timeout(stall, body.frame()).await.map_err(|_| stalled(stall))?;
            let piece = match frame {
                None => break,
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(piece) => piece,
                    Err(_trailers) => continue,
                },
                Some(Err(error)) => {
                    tracing::debug!(error = &error as &dyn std::error::Error, "an object's body broke off");
                    return Err(broke_off());
                }
            };
            let (from, length) = (place, piece.len() as u64);
            place += length;
            let skipped = self.place.saturating_sub(from).min(length);
            let wanted_end = self.end.map_or(length, |end| end.saturating_sub(from).min(length));
            self.check_size(opened.start, from + wanted_end)?;
            turn.host.pace(piece.len()).await;
            if !self.progress.read(length) {
                return Err(Trouble::Cancelled);
            }
            if skipped < wanted_end {
                self.place = from + wanted_end;
                // Within the piece, hence a usize.
                sink.put(piece.slice(skipped as usize..wanted_end as usize)).await?;
            }
        }
        if opened.end.is_some_and(|end| place != end) {
            return Err(broke_off());
        }
        match self.end {
            Some(end) if self.place < end => Err(too_short(opened.total.or(Some(place))).into()),
            _ if self.place < self.start || place < self.start => Err(too_short(opened.total.or(Some(place))).into()),
            _ => Ok(()),
        }
    }

    /// The same object as before, and one that may be read.
    fn recognise(&mut self, opened: &Opened) -> Result<(), Failure> {
        if self.place == self.start {
            self.known = None;
        }
        let Known { identity, total } =
            self.known.get_or_insert_with(|| Known { identity: opened.identity.clone(), total: opened.total });
        if identity.etag != opened.identity.etag
            || identity.version != opened.identity.version
            || identity.modify_time != opened.identity.modify_time
            || *total != opened.total
        {
            return Err(changed("object"));
        }
        if let Some(total) = opened.total {
            if self.start > total || self.end.is_some_and(|end| end > total) {
                return Err(too_short(Some(total)));
            }
            self.check_size(opened.start, self.end.unwrap_or(total))?;
        }
        Ok(())
    }

    /// Refuses to read further than the limit. A body that begins before the range counts from there: what is skipped is
    /// read too.
    fn check_size(&self, body_start: u64, end: u64) -> Result<(), Failure> {
        let most = self.remote.limits.max_bytes;
        if end.saturating_sub(self.start.min(body_start)) <= most {
            return Ok(());
        }
        let message = if body_start < self.start && end.saturating_sub(self.start) <= most {
            format!(
                "the object's host sends it from its start only, and what the task asks for ends more than {most} bytes \
                 behind that, the most that this worker reads of one"
            )
        } else {
            format!("the object is larger than {most} bytes, the most that this worker reads of one")
        };
        Err(Failure::permanent(TaskReason::SourceTooLarge, message))
    }

    /// 416: nothing is there from where it was asked for.
    fn nothing_there(&mut self, total: Option<u64>) -> Result<(), Trouble> {
        if self.place > self.start {
            return Err(changed("object").into());
        }
        // From the very end to the end there is nothing to hash, which is fine, as it is for files.
        if self.end.is_none() && total == Some(self.start) {
            let identity = ObjectIdentity { size: self.start, ..ObjectIdentity::default() };
            self.known = Some(Known { identity, total });
            return Ok(());
        }
        Err(too_short(total).into())
    }

    fn headers(&self, ranged: bool) -> HeaderMap {
        let mut headers = HeaderMap::new();
        if ranged {
            let last = self.end.map_or_else(String::new, |end| (end - 1).to_string());
            if let Ok(range) = HeaderValue::try_from(format!("bytes={}-{last}", self.place)) {
                headers.insert(header::RANGE, range);
            }
        }
        if self.place > self.start
            && let Some((name, value)) = self.condition()
        {
            headers.insert(name, value);
        }
        if self.place == self.start
            && let Some(etag) = self.same_as.and_then(|etag| HeaderValue::from_str(etag).ok())
        {
            headers.insert(header::IF_NONE_MATCH, etag);
        }
        headers
    }

    /// What a request says so that it is answered for the same object only.
    fn condition(&self) -> Option<(header::HeaderName, HeaderValue)> {
        let identity = &self.known.as_ref()?.identity;
        if identity.etag.starts_with('"') {
            return Some((header::IF_MATCH, HeaderValue::from_str(&identity.etag).ok()?));
        }
        let time = identity.modify_time?;
        let date = httpdate::fmt_http_date(time.try_into().ok()?);
        Some((header::IF_UNMODIFIED_SINCE, HeaderValue::try_from(date).ok()?))
    }
}

fn too_short(total: Option<u64>) -> Failure {
    let message = match total {
        Some(total) => format!("the task asks for bytes that are not there: the object has {total}"),
        None => "the task asks for bytes that are not there".to_owned(),
    };
    Failure::permanent(TaskReason::SourceTooShort, message)
}

fn stalled(stall: Duration) -> Trouble {
    let message = format!("the object's host sent nothing for {} s", stall.as_secs());
    Trouble::Failed(Failure::retryable(TaskReason::SourceTimedOut, message))
}

fn broke_off() -> Trouble {
    let message = "the connection broke before the object's end";
    Trouble::Broken(Failure::retryable(TaskReason::SourceUnreadable, message))
}
