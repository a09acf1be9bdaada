//! W3C Trace Context (<https://www.w3.org/TR/trace-context/>), with or without an exporter.
//!
//! Without one no span is made at all; only the ids travel, so that neighbours that do export see one trace.

use std::fmt;
use std::str::FromStr;

use opentelemetry::trace::{SpanContext, SpanId, TraceFlags, TraceId, TraceState};
use opentelemetry_sdk::trace::{IdGenerator as _, RandomIdGenerator};

use crate::context;

/// A `traceparent` header: which trace, which caller in it, and whether it is recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceParent {
    trace: TraceId,
    parent: SpanId,
    flags: TraceFlags,
}

/// A `traceparent` header as text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceText([u8; 55]);

impl TraceText {
    /// The whole header.
    pub fn as_str(&self) -> &str {
        // Hexadecimal digits and dashes, so never the other.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }

    /// The trace's id in hexadecimal.
    pub fn trace_id(&self) -> &str {
        self.as_str().get(3..35).unwrap_or_default()
    }
}

/// Writes each of `bytes` as two hexadecimal digits.
fn hex(text: &mut [u8], bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for (pair, byte) in text.chunks_exact_mut(2).zip(bytes) {
        pair.copy_from_slice(&[DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
    }
}

/// Why a text is not a `traceparent`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a w3c traceparent")]
pub struct InvalidTraceParent;

impl TraceParent {
    /// A new trace with random ids. It is marked as not recorded, since nobody did: what is recorded has a span.
    pub fn random() -> Self {
        let ids = RandomIdGenerator::default();
        Self { trace: ids.new_trace_id(), parent: ids.new_span_id(), flags: TraceFlags::default() }
    }

    /// The same trace, one step further: what a server hands on to those it calls.
    #[must_use]
    pub fn child(self) -> Self {
        Self { parent: RandomIdGenerator::default().new_span_id(), ..self }
    }

    /// The trace's id in hexadecimal.
    pub fn trace_id(&self) -> String {
        self.text().trace_id().to_owned()
    }

    /// The header's text, made without allocating.
    pub fn text(&self) -> TraceText {
        let mut text = *b"00-00000000000000000000000000000000-0000000000000000-00";
        hex(&mut text[3..35], &self.trace.to_bytes());
        hex(&mut text[36..52], &self.parent.to_bytes());
        hex(&mut text[53..], &[self.flags.to_u8()]);
        TraceText(text)
    }

    /// Whether somebody records it.
    pub fn is_recorded(&self) -> bool {
        self.flags.is_sampled()
    }

    /// The same, marked as recorded by nobody.
    pub(crate) fn unrecorded(self) -> Self {
        Self { flags: TraceFlags::default(), ..self }
    }

    pub(crate) fn id(&self) -> TraceId {
        self.trace
    }

    /// The trace's id as a number.
    pub(crate) fn number(&self) -> u128 {
        u128::from_be_bytes(self.trace.to_bytes())
    }

    pub(crate) fn of(span: &SpanContext) -> Option<Self> {
        span.is_valid().then(|| Self { trace: span.trace_id(), parent: span.span_id(), flags: span.trace_flags() })
    }

    pub(crate) fn span_context(self, is_remote: bool) -> SpanContext {
        SpanContext::new(self.trace, self.parent, self.flags, is_remote, TraceState::NONE)
    }
}

impl FromStr for TraceParent {
    type Err = InvalidTraceParent;

    /// Reads version 00, and of later versions the part that version 00 knows, as the recommendation asks.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim();
        let (known, rest) = text.split_at_checked(55).ok_or(InvalidTraceParent)?;
        let mut parts = known.split('-');
        let mut next = |length: usize| {
            let part = parts.next().filter(|part| part.len() == length).ok_or(InvalidTraceParent)?;
            // Upper case is not allowed, and `from_str_radix` would take a sign.
            let lower = part.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
            if lower { u128::from_str_radix(part, 16).map_err(|_| InvalidTraceParent) } else { Err(InvalidTraceParent) }
        };
        let (version, trace, parent, flags) = (next(2)?, next(32)?, next(16)?, next(2)?);
        let foreign = version > 0 && (rest.is_empty() || rest.starts_with('-'));
        let fine = version != 0xff && (rest.is_empty() || foreign) && trace != 0 && parent != 0;
        if !fine {
            return Err(InvalidTraceParent);
        }
        let parent = u64::try_from(parent).map_err(|_| InvalidTraceParent)?;
        let flags = u8::try_from(flags).map_err(|_| InvalidTraceParent)?;
        Ok(Self {
            trace: TraceId::from(trace),
            parent: SpanId::from(parent),
            flags: TraceFlags::new(flags) & TraceFlags::SAMPLED,
        })
    }
}

impl fmt::Display for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text().as_str())
    }
}

/// The `traceparent` header for a call made now; `None` outside of any request.
pub fn traceparent() -> Option<String> {
    current().map(|trace| trace.to_string())
}

/// The current trace's id in hexadecimal; `None` outside of any request.
pub fn trace_id() -> Option<String> {
    current().map(|trace| trace.trace_id())
}

fn current() -> Option<TraceParent> {
    context::with(|context| context.trace)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const GOOD: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn a_traceparent_is_read_and_written_alike() {
        let trace: TraceParent = GOOD.parse().expect("well formed");
        assert_eq!(trace.to_string(), GOOD);
        assert_eq!(trace.trace_id(), "0af7651916cd43dd8448eb211c80319c");
    }

    #[test]
    fn what_the_recommendation_forbids_is_refused() {
        for text in [
            "",
            "00",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-extra",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0",
            "00-+af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        ] {
            assert_eq!(text.parse::<TraceParent>(), Err(InvalidTraceParent), "{text}");
        }
    }

    #[test]
    fn a_later_version_is_read_as_far_as_it_is_known() {
        let later = GOOD.replacen("00", "cc", 1) + "-what-the-future-brings";
        assert_eq!(later.parse::<TraceParent>().map(|trace| trace.to_string()).as_deref(), Ok(GOOD));
    }

    #[test]
    fn a_child_stays_in_the_trace_under_an_id_of_its_own() {
        let trace: TraceParent = GOOD.parse().expect("well formed");
        let child = trace.child();
        assert_eq!(child.trace_id(), trace.trace_id());
        assert_ne!(child.to_string(), trace.to_string());
    }

    #[test]
    fn without_an_exporter_the_callers_trace_is_handed_on() {
        let arrive = |traceparent| {
            let about = || unreachable!("no span is made");
            crate::arrive(Some(traceparent), opentelemetry::trace::SpanKind::Server, about).1
        };
        let trace = arrive(GOOD);
        assert_eq!(trace.trace_id(), "0af7651916cd43dd8448eb211c80319c");
        assert!(trace.to_string().ends_with("-01"), "the caller's word on recording stands: {trace}");
        let fresh = arrive("nonsense");
        assert_ne!(fresh.trace_id(), trace.trace_id());
        assert!(fresh.to_string().ends_with("-00"), "nobody records it: {fresh}");
    }

    proptest! {
        #[test]
        fn no_text_panics(text in prop_oneof![any::<String>(), "[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-fé]{16}-[0-9a-f]{2}.*"]) {
            let _ = text.parse::<TraceParent>();
        }

        #[test]
        fn what_is_written_can_be_read(_nth in 0..100u8) {
            let trace = TraceParent::random();
            prop_assert_eq!(trace.to_string().parse(), Ok(trace));
        }
    }
}
