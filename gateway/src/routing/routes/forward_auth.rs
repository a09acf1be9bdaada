//! What a route asks another server, and what it makes of the answer.

use std::sync::Arc;
use std::time::Duration;

use http::uri::PathAndQuery;
use http::{HeaderName, HeaderValue, Uri};

use crate::routing::Authority;
use crate::settings;

/// Whom to ask whether a request may go on, and how.
pub(crate) struct ForwardAuth {
    pub(crate) authority: Arc<Authority>,
    /// What is asked for there, in origin-form.
    pub(crate) target: Uri,
    /// Of whom.
    pub(crate) host: HeaderValue,
    /// The longest wait for the answer.
    pub(crate) timeout: Duration,
    /// Headers of the answer that the service gets.
    pub(crate) headers: Vec<HeaderName>,
    /// Headers of a request that go along.
    pub(crate) request_headers: Vec<HeaderName>,
}

impl ForwardAuth {
    /// Asks `authority`, which is that of the settings.
    pub(super) fn new(settings: &settings::ForwardAuth, authority: Arc<Authority>) -> Option<Self> {
        let uri = settings.uri()?;
        let target = uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
        Some(Self {
            authority,
            target: target.into(),
            host: HeaderValue::from_str(uri.authority()?.as_str()).ok()?,
            timeout: settings.timeout.get(),
            headers: settings::ForwardAuth::names(&settings.headers),
            request_headers: settings::ForwardAuth::names(&settings.request_headers),
        })
    }
}
