//! The id of the request being served, beside the request.

use http::HeaderValue;
use salvo::Request;

/// As text.
#[derive(Debug, Clone)]
pub(crate) struct RequestId(pub(crate) HeaderValue);

impl RequestId {
    /// The caller's id, else a new one.
    pub(crate) fn of(req: &Request) -> Self {
        Self(shop_http::request_id::of(req.headers()))
    }

    pub(crate) fn as_str(&self) -> &str {
        self.0.to_str().unwrap_or("-")
    }
}

/// The id of `req`; `-` when it did not come through [`service`](crate::service).
pub fn request_id(req: &Request) -> &str {
    req.extensions().get::<RequestId>().map_or("-", RequestId::as_str)
}
