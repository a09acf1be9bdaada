//! The document, as it is sent.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response};

use crate::sent::Sent;

/// An OpenAPI document, compressed once.
#[derive(Debug, Clone)]
pub struct Document(Sent);

impl Document {
    /// The document with this JSON.
    pub fn new(json: impl Into<Bytes>) -> Self {
        let fresh = HeaderValue::from_static("no-cache");
        Self(Sent::new(json.into(), HeaderValue::from_static("application/json"), fresh))
    }

    /// The answer to a GET or HEAD with these headers: compressed for who takes gzip, 304 for who has it already.
    pub fn answer(&self, request: &HeaderMap) -> Response<Bytes> {
        self.0.answer(request)
    }
}
