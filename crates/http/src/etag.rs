//! Entity tags of single resources, made from the version that every change counts up (RFC 9110, section 8.8.3).

use http::HeaderValue;
use http::header::ETAG;
use salvo::Response;

/// The strong entity tag of `version`, quotes included.
pub fn of(version: i64) -> String {
    format!("\"v{version}\"")
}

/// Sets the `ETag` of a response; whether the caller has that very version is looked at when the answer leaves.
pub fn set(res: &mut Response, version: i64) {
    if let Ok(tag) = HeaderValue::from_str(&of(version)) {
        res.headers_mut().insert(ETAG, tag);
    }
}
