//! The request a task works for. Servers and consumers open a [`scope`]; log lines, clients and the outbox read [`current`].

use std::future::Future;
use std::sync::Arc;

use crate::{TraceParent, TraceState};

/// The ids that tie everything done for one request together. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestContext {
    /// The `X-Request-Id`, given or made.
    pub request_id: Arc<str>,
    /// The trace, given or made.
    pub trace: TraceParent,
    /// What other tracing systems say of the trace, to be handed on beside it.
    pub state: Option<TraceState>,
}

impl RequestContext {
    /// The context of a request at its place in a trace, as [`crate::arrive`] tells it.
    pub fn new(request_id: impl Into<Arc<str>>, trace: TraceParent) -> Self {
        Self { request_id: request_id.into(), trace, state: None }
    }

    /// The same, with what came beside the `traceparent`.
    #[must_use]
    pub fn with_state(self, state: Option<TraceState>) -> Self {
        Self { state, ..self }
    }

    /// The `traceparent` header to hand on.
    pub fn traceparent(&self) -> String {
        self.trace.to_string()
    }
}

tokio::task_local! {
    static CURRENT: RequestContext;
}

/// The context of the running task, if any. Spawned tasks do not inherit it: wrap them in [`scope`].
pub fn current() -> Option<RequestContext> {
    CURRENT.try_with(Clone::clone).ok()
}

/// Reads the context of the running task without cloning it.
pub fn with<T>(read: impl FnOnce(&RequestContext) -> T) -> Option<T> {
    CURRENT.try_with(read).ok()
}

/// Runs `work` for the request `context` stands for.
pub fn scope<F: Future>(context: RequestContext, work: F) -> impl Future<Output = F::Output> {
    CURRENT.scope(context, work)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_context_is_there_within_its_scope_only() {
        assert_eq!(current(), None);
        assert_eq!(crate::traceparent(), None);
        let context = RequestContext::new("r-1", TraceParent::random());
        let (seen, traceparent) = scope(context.clone(), async { (current(), crate::traceparent()) }).await;
        assert_eq!(traceparent, Some(context.traceparent()));
        assert_eq!(seen, Some(context));
        assert_eq!(current(), None);
    }
}
