//! The form of every failure: `application/problem+json` (RFC 9457), with what the house adds to it.

use std::borrow::Cow;
use std::error::Error;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use serde::Serialize;
use serde_json::{Map, Value};
use shop_fault::{Fault, FieldError, Kind, Scope, Violation};

/// Its media type.
pub const MEDIA_TYPE: HeaderValue = HeaderValue::from_static("application/problem+json");

/// Of whom a failure of ours speaks, for who stands in front.
pub const SCOPE: HeaderName = HeaderName::from_static(Scope::HEADER);

/// What a gateway cut off the path.
const PREFIX: HeaderName = HeaderName::from_static("x-forwarded-prefix");

/// Longest prefix that is believed.
const MAX_PREFIX: usize = 64;

/// The members of a problem in the order people read them.
#[derive(Debug, Serialize)]
pub struct Body<'a> {
    r#type: &'static str,
    title: &'a str,
    status: u16,
    detail: &'a str,
    instance: &'a str,
    code: &'a str,
    request_id: &'a str,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    errors: &'a [FieldError],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    violations: &'a [Violation],
    #[serde(flatten)]
    members: Option<&'a Map<String, Value>>,
}

impl<'a> Body<'a> {
    /// A problem of `status`, whose phrase is `title`: `code` for programs and `detail` for people.
    pub fn new(status: StatusCode, title: &'a str, code: &'a str, detail: &'a str) -> Self {
        Self {
            r#type: "about:blank",
            title,
            status: status.as_u16(),
            detail,
            instance: "",
            code,
            request_id: "-",
            errors: &[],
            violations: &[],
            members: None,
        }
    }

    /// All that `fault` says to the outside, under that status.
    pub fn of(fault: &'a Fault, status: StatusCode, title: &'a str) -> Self {
        Self {
            errors: fault.fields(),
            violations: fault.violations(),
            members: Some(fault.members()),
            ..Self::new(status, title, fault.code(), fault.detail())
        }
    }

    /// Where it was met: the path that was asked, and the request's id.
    #[must_use]
    pub fn at(self, instance: &'a str, request_id: &'a str) -> Self {
        Self { instance, request_id, ..self }
    }

    /// The fields that are wrong.
    #[must_use]
    pub fn with_fields(self, errors: &'a [FieldError]) -> Self {
        Self { errors, ..self }
    }

    /// As JSON.
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }
}

/// What an error response without words (a server's own 404, 405, 413 …) stands for; none when the status alone is known.
pub fn bare(status: StatusCode, method: &Method, path: &str) -> Option<Fault> {
    Some(match status.as_u16() {
        400 => Fault::new(Kind::Malformed, "malformed_request", "the request cannot be read"),
        401 => Fault::new(Kind::Unauthenticated, "unauthenticated", "no valid credentials were sent"),
        403 => Fault::new(Kind::Forbidden, "forbidden", "the credentials do not allow this"),
        404 => Fault::new(Kind::NotFound, "not_found", format!("nothing is at {path}")),
        405 => Fault::new(
            Kind::MethodNotAllowed,
            "method_not_allowed",
            format!("{path} does not take {method}; see the Allow header"),
        ),
        406 => Fault::new(Kind::NotAcceptable, "not_acceptable", "no acceptable representation exists"),
        409 => Fault::new(Kind::Conflict, "conflict", "the current state forbids it"),
        412 => Fault::new(Kind::Precondition, "precondition_failed", "the resource has another version"),
        428 => Fault::new(Kind::PreconditionRequired, "precondition_required", "say which version it is with If-Match"),
        413 => Fault::new(Kind::TooLarge, "body_too_large", "the body is too large"),
        415 => Fault::new(Kind::UnsupportedMedia, "unsupported_media_type", "send application/json"),
        422 => Fault::new(Kind::Invalid, "validation_failed", "the request is not valid"),
        429 => Fault::new(Kind::TooManyRequests, "too_many_requests", "too many requests; slow down"),
        500 => Fault::internal("a handler answered 500 without saying why"),
        502 => Fault::new(Kind::BadGateway, "bad_gateway", "an upstream did not answer properly"),
        503 => Fault::new(Kind::Unavailable, "unavailable", "the service is not available now"),
        504 => Fault::new(Kind::Timeout, "timeout", "the deadline passed"),
        _ => return None,
    })
}

/// Where the client asked, as far as its gateway says.
pub fn public_path<'a>(path: &'a str, headers: &HeaderMap) -> Cow<'a, str> {
    match prefix(headers) {
        Some(prefix) => format!("{prefix}{path}").into(),
        None => path.into(),
    }
}

/// What was cut off the path, if that is one plain path; anybody may write the header who calls without a gateway, and then
/// reads it in the answer.
fn prefix(headers: &HeaderMap) -> Option<&str> {
    let mut sent = headers.get_all(PREFIX).iter();
    let (prefix, None) = (sent.next()?.to_str().ok()?, sent.next()) else { return None };
    let is_plain = |segment: &str| {
        let unreserved = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'~' | b'.');
        segment.bytes().all(unreserved) && segment.bytes().any(|byte| byte != b'.')
    };
    let plain = prefix.strip_prefix('/').filter(|rest| rest.len() < MAX_PREFIX && rest.split('/').all(is_plain));
    plain.map(|_| prefix)
}

/// Whole seconds, rounded up: who waits as told must not come too early.
pub fn seconds(after: Duration) -> u64 {
    after.as_secs() + u64::from(after.subsec_nanos() > 0)
}

/// `Retry-After`: a 503, a 429 and what is busy always say when to come back.
pub fn retry_after(status: StatusCode, fault: &Fault) -> Option<u64> {
    let asked = fault.retry_after().map(seconds);
    match status.as_u16() {
        429 | 503 => Some(asked.unwrap_or(1).max(1)),
        _ if fault.kind() == Kind::Busy => Some(asked.unwrap_or(1).max(1)),
        _ => asked,
    }
}

/// Logs a failure once: the cause if the server is to blame, else only the code.
pub fn log(fault: &Fault) {
    let cause = || chain(fault);
    match fault.kind() {
        Kind::Internal => tracing::error!(code = fault.code(), error = cause(), "request failed: {}", cause()),
        Kind::BadGateway | Kind::Unavailable | Kind::Timeout => {
            tracing::warn!(code = fault.code(), error = cause(), "request failed: {fault}");
        }
        // Its words tell the client what it sent, which is nobody else's business.
        _ => tracing::debug!(code = fault.code(), "request refused: {}", fault.code()),
    }
}

/// The causes of `error`, outermost first, or the error itself if it has none.
fn chain(error: &Fault) -> String {
    let mut text = String::new();
    let mut cause = error.source();
    while let Some(next) = cause {
        if !text.is_empty() {
            text.push_str(": ");
        }
        text.push_str(&next.to_string());
        cause = next.source();
    }
    if text.is_empty() { error.to_string() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_believed_when_it_is_one_plain_path() {
        let longest = format!("/{}", "a".repeat(MAX_PREFIX - 1));
        for (sent, believed) in [
            (&[][..], None),
            (&["/api"], Some("/api")),
            (&["/shop/api-2"], Some("/shop/api-2")),
            (&[longest.as_str()], Some(longest.as_str())),
            (&[""], None),
            (&["/"], None),
            (&["/api/"], None),
            (&["api"], None),
            (&["//api"], None),
            (&["/../x"], None),
            (&["/a\"b"], None),
            (&["/<script>"], None),
            (&["https://evil.example"], None),
            (&["/api", "/other"], None),
            (&[format!("{longest}a").as_str()], None),
        ] {
            let mut headers = HeaderMap::new();
            for value in sent {
                headers.append(PREFIX, HeaderValue::from_str(value).expect("a value"));
            }
            assert_eq!(prefix(&headers), believed, "{sent:?}");
        }
    }
}
