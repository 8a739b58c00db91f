//! Who caused what, in 25 bytes.

use std::fmt;

use opentelemetry::trace::{SpanContext, SpanId, TraceFlags, TraceId, TraceState};

/// A place in a trace: the span that caused what is done now, and whether the trace is sampled.
///
/// Written as W3C's `traceparent` (`00-<trace id>-<span id>-<flags>`, <https://www.w3.org/TR/trace-context/>), stored as
/// [`TraceContext::to_bytes`]. `tracestate` is not kept.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceContext {
    pub(super) trace_id: [u8; 16],
    pub(super) span_id: [u8; 8],
    pub(super) sampled: bool,
}

/// Version, ids and flags in hexadecimal, with dashes.
const LENGTH: usize = 55;

impl TraceContext {
    /// How many bytes [`TraceContext::to_bytes`] makes.
    pub const BYTES: usize = 25;

    /// Reads a `traceparent`, of later versions what is known of them. `None`: it is malformed, and counts as not there.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let known = text.get(..LENGTH)?;
        let mut parts = known.split('-');
        let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let goes_on = text.as_bytes().get(LENGTH);
        let well_formed = parts.next().is_none()
            && [version.len(), trace.len(), span.len(), flags.len()] == [2, 32, 16, 2]
            && known.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f' | b'-'))
            && version != "ff"
            && goes_on.is_none_or(|byte| version != "00" && *byte == b'-');
        if !well_formed {
            return None;
        }
        let trace_id = u128::from_str_radix(trace, 16).ok()?.to_be_bytes();
        let span_id = u64::from_str_radix(span, 16).ok()?.to_be_bytes();
        let sampled = u8::from_str_radix(flags, 16).ok()? & 1 == 1;
        Self::new(trace_id, span_id, sampled)
    }

    /// What was stored. `None`: it was nothing, or is damaged.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; Self::BYTES] = bytes.try_into().ok()?;
        let (trace_id, rest) = bytes.split_first_chunk::<16>()?;
        let (span_id, flags) = rest.split_first_chunk::<8>()?;
        Self::new(*trace_id, *span_id, flags[0] & 1 == 1)
    }

    /// Trace, span, flags.
    #[must_use]
    pub fn to_bytes(self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        bytes[..16].copy_from_slice(&self.trace_id);
        bytes[16..24].copy_from_slice(&self.span_id);
        bytes[24] = u8::from(self.sampled);
        bytes
    }

    /// Whether its spans are exported.
    #[must_use]
    pub fn sampled(self) -> bool {
        self.sampled
    }

    /// The trace's id, 32 hexadecimal digits: what log lines and trace stores are searched for.
    #[must_use]
    pub fn trace_id(self) -> String {
        TraceId::from_bytes(self.trace_id).to_string()
    }

    fn new(trace_id: [u8; 16], span_id: [u8; 8], sampled: bool) -> Option<Self> {
        let valid = trace_id != [0; 16] && span_id != [0; 8];
        valid.then_some(Self { trace_id, span_id, sampled })
    }

    /// The same for the exporter.
    pub(crate) fn to_otel(self, remote: bool) -> SpanContext {
        let flags = if self.sampled { TraceFlags::SAMPLED } else { TraceFlags::default() };
        let (trace_id, span_id) = (TraceId::from_bytes(self.trace_id), SpanId::from_bytes(self.span_id));
        SpanContext::new(trace_id, span_id, flags, remote, TraceState::default())
    }

    pub(crate) fn of_otel(context: &SpanContext) -> Option<Self> {
        Self::new(context.trace_id().to_bytes(), context.span_id().to_bytes(), context.is_sampled())
    }
}

impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (trace_id, span_id) = (u128::from_be_bytes(self.trace_id), u64::from_be_bytes(self.span_id));
        write!(f, "00-{trace_id:032x}-{span_id:016x}-{:02x}", u8::from(self.sampled))
    }
}

impl fmt::Debug for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TraceContext({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIVEN: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn what_is_read_is_written_and_stored_as_it_was() {
        let context = TraceContext::parse(GIVEN).unwrap();
        assert_eq!(context.to_string(), GIVEN);
        assert_eq!(context.trace_id(), "0af7651916cd43dd8448eb211c80319c");
        assert_eq!(TraceContext::from_bytes(&context.to_bytes()), Some(context));
        assert_eq!(TraceContext::of_otel(&context.to_otel(true)), Some(context));
        assert!(context.sampled());
    }

    #[test]
    fn flags_of_later_versions_are_ignored_and_what_follows_them_too() {
        let later = "cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-fe-what-is-this";
        assert!(!TraceContext::parse(later).unwrap().sampled());
    }

    #[test]
    fn what_is_malformed_counts_as_not_there() {
        for text in [
            "",
            "00",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319-cb7ad6b7169203331-01",
            "cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01x",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-é1",
        ] {
            assert_eq!(TraceContext::parse(text), None, "{text}");
        }
        assert_eq!(TraceContext::from_bytes(&[1; 24]), None);
        assert_eq!(TraceContext::from_bytes(&[0; 25]), None);
    }
}
