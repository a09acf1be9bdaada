//! Entity tags of single resources, made from the version that every change counts up.

use http::HeaderValue;
use http::header::ETAG;
use salvo::Response;

pub use shop_http::precondition::tag as of;

/// Sets the `ETag` of a response; whether the caller has that very version is looked at when the answer leaves.
pub fn set(res: &mut Response, version: i64) {
    if let Ok(tag) = HeaderValue::from_str(&of(version)) {
        res.headers_mut().insert(ETAG, tag);
    }
}
