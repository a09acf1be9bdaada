//! What is kept of a request so that it can go out once more.

use std::sync::Arc;

use http::{HeaderName, HeaderValue, Method, Request, Uri};

use crate::body::{Kept, Upload};

/// A request's head, and its body if it has one.
pub(crate) struct Replay {
    method: Method,
    uri: Uri,
    /// Not as a map, which costs more to copy: most requests are never sent again.
    headers: Vec<(HeaderName, HeaderValue)>,
    body: Option<Arc<Kept>>,
}

impl Replay {
    /// Keeps `request`, whose body is kept as it goes out if it is not longer than `limit`. None when it is.
    pub(crate) fn of(request: &mut Request<Upload>, limit: usize) -> Option<Self> {
        let body = if request.body().is_none() { None } else { Some(request.body_mut().keep(limit)?) };
        Some(Self {
            method: request.method().clone(),
            uri: request.uri().clone(),
            headers: request.headers().iter().map(|(name, value)| (name.clone(), value.clone())).collect(),
            body,
        })
    }

    /// Whether nobody can tell that this went out twice. `PUT` and `DELETE` are idempotent too, but their second answer
    /// may differ from the first: a 404 for what was just deleted.
    pub(crate) fn is_unnoticed(method: &Method, body: &Upload) -> bool {
        matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS) && body.is_none()
    }

    /// The request once more; none when its body has not gone out whole, for then some of it is lost.
    pub(crate) fn request(&self) -> Option<Request<Upload>> {
        self.with(Kept::again)
    }

    /// The request once more for a backend when another did nothing with it; what did not go out then, goes out now.
    pub(crate) fn resume(&self) -> Option<Request<Upload>> {
        self.with(Kept::resume)
    }

    fn with(&self, body: impl Fn(&Kept) -> Option<Upload>) -> Option<Request<Upload>> {
        let body = match &self.body {
            None => Upload::none(),
            Some(kept) => body(kept)?,
        };
        let mut request = Request::new(body);
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = self.uri.clone();
        let headers = request.headers_mut();
        headers.reserve(self.headers.len());
        for (name, value) in &self.headers {
            headers.append(name, value.clone());
        }
        Some(request)
    }
}
