//! W3C Trace Context (<https://www.w3.org/TR/trace-context/>), with or without an exporter.

use std::fmt;
use std::str::FromStr;

use tracing::Span;

/// A `traceparent` header: which trace, which caller in it, and whether it is recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceParent {
    trace: [u8; 16],
    parent: [u8; 8],
    flags: u8,
}

/// Why a text is not a `traceparent`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a w3c traceparent")]
pub struct InvalidTraceParent;

impl TraceParent {
    /// A new trace with random ids, not recorded.
    pub fn random() -> Self {
        todo!()
    }

    /// The same trace, one step further: what a server hands on to those it calls.
    #[must_use]
    pub fn child(self) -> Self {
        todo!()
    }

    /// The trace's id in hexadecimal.
    pub fn trace_id(&self) -> String {
        todo!()
    }
}

impl FromStr for TraceParent {
    type Err = InvalidTraceParent;

    fn from_str(_text: &str) -> Result<Self, Self::Err> {
        todo!()
    }
}

impl fmt::Display for TraceParent {
    fn fmt(&self, _f: &mut fmt::Formatter<'_>) -> fmt::Result {
        todo!()
    }
}

/// Makes `span` part of the trace a caller sent, or of a new one, and returns what to hand on to others.
/// A malformed `traceparent` counts as none.
pub fn continue_trace(_span: &Span, _traceparent: Option<&str>) -> TraceParent {
    todo!()
}

/// The `traceparent` header for a call made now; `None` outside of any request.
pub fn traceparent() -> Option<String> {
    todo!()
}

/// The current trace's id in hexadecimal; `None` outside of any request.
pub fn trace_id() -> Option<String> {
    todo!()
}
