//! What is kept of a request so that it can go out once more.

use std::sync::Arc;

use http::Method;

use crate::upstream::body::{Kept, RequestBody};

/// A request's body, if it has one. Its head is there as long as the call.
pub(crate) struct Replay(Option<Arc<Kept>>);

impl Replay {
    /// Keeps `body` as it goes out if it is not longer than `limit`. None when it is.
    pub(crate) fn of(body: &mut RequestBody, limit: usize) -> Option<Self> {
        if body.is_none() { Some(Self(None)) } else { body.keep(limit).map(|kept| Self(Some(kept))) }
    }

    /// Whether nobody can tell that this went out twice. `PUT` and `DELETE` are idempotent too, but their second answer
    /// may differ from the first: a 404 for what was just deleted.
    pub(crate) fn is_unnoticed(method: &Method, body: &RequestBody) -> bool {
        matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS) && body.is_none()
    }

    /// The body once more; none when it has not gone out whole, for then some of it is lost.
    pub(crate) fn body(&self) -> Option<RequestBody> {
        self.with(Kept::again)
    }

    /// The body once more for a backend when another did nothing with it; what did not go out then, goes out now.
    pub(crate) fn resume(&self) -> Option<RequestBody> {
        self.with(Kept::resume)
    }

    fn with(&self, body: impl Fn(&Kept) -> Option<RequestBody>) -> Option<RequestBody> {
        match &self.0 {
            None => Some(RequestBody::none()),
            Some(kept) => body(kept),
        }
    }
}
