//! What a process tells about itself: log lines, traces, metrics, and the context that ties them to one request.

pub mod context;
mod escape;
mod line;
mod metrics;
mod output;
mod process;
mod subscriber;
mod trace;

pub use context::RequestContext;
pub use metrics::{LATENCY_BUCKETS, Metrics};
pub use subscriber::{Guard, init};
pub use trace::{TraceParent, TraceText, continue_trace, trace_id, traceparent};
