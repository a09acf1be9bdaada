//! What a process tells about itself: log lines, traces, metrics, and the context that ties them to one request.

pub mod context;
mod escape;
mod export;
mod format;
mod histogram;
pub mod line;
mod metrics;
mod openmetrics;
mod process;
mod span;
mod subscriber;
mod traceparent;
mod tracestate;
mod writer;

pub use context::RequestContext;
pub use export::About;
pub use format::millis;
pub use histogram::{Histogram, Histograms, LATENCY_BUCKETS};
pub use metrics::{Described, Metrics};
pub use opentelemetry::KeyValue;
pub use opentelemetry::trace::SpanKind;
pub use span::{Span, arrive, is_exporting, pass_by};
pub use subscriber::{Guard, init};
pub use traceparent::{TraceParent, TraceText, trace_id, traceparent};
pub use tracestate::TraceState;
