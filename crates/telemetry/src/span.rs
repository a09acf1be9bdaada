//! Spans of what one request makes the process do, for a collector.
//!
//! Made by hand on OpenTelemetry's SDK rather than through `tracing`: the task's context already says where the work at hand
//! belongs, so a span is an id there, and nothing at all in a trace that nobody records.

use std::borrow::Cow;

use opentelemetry::trace::{Span as _, SpanKind, Status};
use opentelemetry::{KeyValue, StringValue, Value};

use crate::export::{About, Exporting, exporting};
use crate::{TraceParent, context};

/// A piece of work in a trace; ends when it is dropped. Nothing when the trace is not recorded, at the cost of a flag.
#[derive(Debug, Default)]
pub struct Span(Option<Box<opentelemetry_sdk::trace::Span>>);

/// Begins the work for a request that came with this `traceparent`: goes on with the caller's trace or makes a new one, and
/// decides whether it is recorded. The second is what to hand on to others; a malformed `traceparent` counts as none.
pub fn arrive(traceparent: Option<&str>, kind: SpanKind, about: impl FnOnce() -> About) -> (Span, TraceParent) {
    let caller = traceparent.and_then(|text| text.parse::<TraceParent>().ok());
    let Some(exporting) = exporting() else {
        return (Span::none(), caller.map_or_else(TraceParent::random, TraceParent::child));
    };
    let trace = caller.unwrap_or_else(TraceParent::random);
    if !exporting.samples(caller, trace) {
        return (Span::none(), trace.child().unrecorded());
    }
    let span = match caller {
        Some(caller) => Span::of(exporting.begin(caller, true, kind, about())),
        None => Span::of(exporting.begin_root(trace, kind, about())),
    };
    let own = span.trace().unwrap_or_else(|| trace.child());
    (span, own)
}

/// The place in its trace of a request that is not worth a span, such as a probe.
pub fn pass_by(traceparent: Option<&str>) -> TraceParent {
    let caller = traceparent.and_then(|text| text.parse::<TraceParent>().ok());
    caller.map_or_else(TraceParent::random, TraceParent::child).unrecorded()
}

/// Whether spans go to a collector.
pub fn is_exporting() -> bool {
    exporting().is_some()
}

impl Span {
    /// No span.
    pub const fn none() -> Self {
        Self(None)
    }

    /// A part of the work at hand.
    pub fn child(kind: SpanKind, about: impl FnOnce() -> About) -> Self {
        let Some(exporting) = exporting() else { return Self::none() };
        let parent = context::with(|context| context.trace);
        parent.map_or_else(Self::none, |parent| Self::part(exporting, parent, false, kind, about))
    }

    /// A part of this span, for work without a task's context.
    #[must_use]
    pub fn part_of(&self, kind: SpanKind, about: impl FnOnce() -> About) -> Self {
        match (self.trace(), exporting()) {
            (Some(parent), Some(exporting)) => Self::part(exporting, parent, false, kind, about),
            _ => Self::none(),
        }
    }

    /// What follows from `parent`, perhaps in another process or long ago.
    pub fn after(parent: Option<&str>, kind: SpanKind, about: impl FnOnce() -> About) -> Self {
        let Some(exporting) = exporting() else { return Self::none() };
        let parent = parent.and_then(|text| text.parse::<TraceParent>().ok());
        parent.map_or_else(Self::none, |parent| Self::part(exporting, parent, true, kind, about))
    }

    fn part(
        exporting: &Exporting,
        parent: TraceParent,
        is_remote: bool,
        kind: SpanKind,
        about: impl FnOnce() -> About,
    ) -> Self {
        if parent.is_recorded() { Self::of(exporting.begin(parent, is_remote, kind, about())) } else { Self::none() }
    }

    fn of(span: opentelemetry_sdk::trace::Span) -> Self {
        // Not recorded once the export has ended.
        Self(span.is_recording().then(|| Box::new(span)))
    }

    /// Whether there is somebody to tell attributes to.
    pub const fn is_recorded(&self) -> bool {
        self.0.is_some()
    }

    /// Where others go on from this span.
    pub fn trace(&self) -> Option<TraceParent> {
        self.0.as_ref().and_then(|span| TraceParent::of(span.span_context()))
    }

    /// Adds an attribute.
    pub fn set(&mut self, key: &'static str, value: impl Into<Value>) {
        if let Some(span) = &mut self.0 {
            span.set_attribute(KeyValue::new(key, value));
        }
    }

    /// Names it anew, once more is known.
    pub fn rename(&mut self, name: impl FnOnce() -> Cow<'static, str>) {
        if let Some(span) = &mut self.0 {
            span.update_name(name());
        }
    }

    /// It failed; `kind` is a word or code of which there are few (`error.type`).
    pub fn fail(&mut self, kind: impl Into<StringValue>) {
        if let Some(span) = &mut self.0 {
            span.set_attribute(KeyValue::new("error.type", kind.into()));
            span.set_status(Status::error(""));
        }
    }
}
