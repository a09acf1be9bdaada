//! Every failure leaves as `application/problem+json` (RFC 9457); this is the one place that writes it.

use std::borrow::Cow;
use std::error::Error;
use std::fmt;

use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, ETAG, LOCATION, RETRY_AFTER};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use salvo::http::ResBody;
use salvo::oapi::schema::AdditionalProperties;
use salvo::oapi::{Array, Components, EndpointOutRegister, Object, Operation, RefOr};
use salvo::{Depot, Request, Response, Writer, async_trait};
use serde::Serialize;
use serde_json::{Map, Value};
use shop_fault::{Fault, FieldError, Kind, Scope, Violation};

use crate::describe;
use crate::request_id::request_id;

/// Of whom a failure of ours speaks, for who stands in front.
const SCOPE: HeaderName = HeaderName::from_static(Scope::HEADER);

/// What a gateway cut off the path.
const PREFIX: HeaderName = HeaderName::from_static("x-forwarded-prefix");

/// Longest prefix that is believed.
const MAX_PREFIX: usize = 64;

/// A [`Fault`] on its way to an HTTP client; what handlers return, so that `?` is all they need.
///
/// A service writes `impl From<domain::Error> for Problem` next to its routes.
pub struct Problem(pub(crate) Fault);

impl From<Fault> for Problem {
    fn from(fault: Fault) -> Self {
        Self(fault)
    }
}

impl From<Problem> for Fault {
    fn from(problem: Problem) -> Self {
        problem.0
    }
}

impl fmt::Debug for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The code of the error a response carries, for the metric that counts errors by code.
#[derive(Clone)]
pub(crate) struct ErrorCode(pub(crate) Cow<'static, str>);

#[async_trait]
impl Writer for Problem {
    async fn write(self, req: &mut Request, _depot: &mut Depot, res: &mut Response) {
        render(&self.0, req, res);
    }
}

impl EndpointOutRegister for Problem {
    fn register(components: &mut Components, _operation: &mut Operation) {
        // Which operation refuses what is in its document; all refusals are of this form.
        describe(components);
    }
}

/// Writes `fault` as the response, whatever was there before, and logs the cause once if the server is to blame.
pub(crate) fn render(fault: &Fault, req: &Request, res: &mut Response) {
    log(fault);
    let status = StatusCode::from_u16(fault.kind().status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    write(status, fault.kind().title(), fault, req, res);
}

/// Gives an error response without a body (salvo's own 404, 405, 413 …) the uniform one.
pub(crate) fn fill_bare(req: &Request, res: &mut Response) {
    let Some(status) = res.status_code.filter(|status| status.is_client_error() || status.is_server_error()) else {
        return;
    };
    if !(res.body.is_none() || res.body.is_error()) {
        return;
    }
    if let Some(fault) = bare_fault(status, req) {
        return render(&fault, req, res);
    }
    let title = status.canonical_reason().unwrap_or("Error");
    let fault = Fault::new(Kind::Malformed, format!("http_{}", status.as_u16()), title.to_lowercase());
    write(status, title, &fault, req, res);
}

fn bare_fault(status: StatusCode, req: &Request) -> Option<Fault> {
    let path = public_path(req);
    Some(match status.as_u16() {
        400 => Fault::new(Kind::Malformed, "malformed_request", "the request cannot be read"),
        401 => Fault::new(Kind::Unauthenticated, "unauthenticated", "no valid credentials were sent"),
        403 => Fault::new(Kind::Forbidden, "forbidden", "the credentials do not allow this"),
        404 => Fault::new(Kind::NotFound, "not_found", format!("nothing is at {path}")),
        405 => Fault::new(
            Kind::MethodNotAllowed,
            "method_not_allowed",
            format!("{path} does not take {}; see the Allow header", req.method()),
        ),
        406 => Fault::new(Kind::NotAcceptable, "not_acceptable", "no acceptable representation exists"),
        409 => Fault::new(Kind::Conflict, "conflict", "the current state forbids it"),
        412 => Fault::new(Kind::Precondition, "precondition_failed", "the resource has another version"),
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

/// The members of a problem in the order people read them.
#[derive(Serialize)]
struct Body<'a> {
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
    members: &'a Map<String, Value>,
}

fn write(status: StatusCode, title: &str, fault: &Fault, req: &Request, res: &mut Response) {
    let body = Body {
        r#type: "about:blank",
        title,
        status: status.as_u16(),
        detail: fault.detail(),
        instance: &public_path(req),
        code: fault.code(),
        request_id: request_id(req),
        errors: fault.fields(),
        violations: fault.violations(),
        members: fault.members(),
    };
    let body = serde_json::to_vec(&body).unwrap_or_default();
    let headers = res.headers_mut();
    for stale in [CONTENT_LENGTH, CONTENT_ENCODING, ETAG, LOCATION] {
        headers.remove(stale);
    }
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    if let Some(seconds) = retry_after(status, fault) {
        headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    if fault.kind().is_server() {
        headers.insert(SCOPE, HeaderValue::from_static(fault.scope().word()));
    }
    res.status_code(status);
    res.body = ResBody::Once(body.into());
    res.extensions.insert(ErrorCode(fault.code().to_owned().into()));
}

/// Where the client asked, as far as its gateway says.
fn public_path(req: &Request) -> Cow<'_, str> {
    let path = req.uri().path();
    match prefix(req.headers()) {
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

/// Seconds, rounded up; a 503, a 429 and what is busy always say when to come back.
fn retry_after(status: StatusCode, fault: &Fault) -> Option<u64> {
    let asked = fault.retry_after().map(|after| after.as_secs() + u64::from(after.subsec_nanos() > 0));
    match status.as_u16() {
        429 | 503 => Some(asked.unwrap_or(1).max(1)),
        _ if fault.kind() == Kind::Busy => Some(asked.unwrap_or(1).max(1)),
        _ => asked,
    }
}

fn log(fault: &Fault) {
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

/// More fields or violations are never listed: there is one for a field, a line of a basket or an unknown field at most.
const MOST_LISTED: usize = 200;

/// The schema `Problem`, which every response from 400 on refers to.
fn describe(components: &mut Components) {
    let text = |most: usize| describe::string(0..=most);
    let code = || describe::string(1..=64).pattern("^[a-z][a-z0-9_.]*$");
    let field = Object::new()
        .description("A field or parameter that is not valid")
        .property("field", text(1000).description("Its path, such as `items[0].quantity`"))
        .property("code", code().description("Stable, snake_case"))
        .property("message", text(2000).description("What to do about it"));
    let violation = Object::new()
        .description("Something whose state stands in the way")
        .property("type", code().description("Stable, snake_case"))
        .property("subject", text(1000).description("Which thing, such as `products/7`"))
        .property("description", text(2000).description("What is the matter with it"));
    let mut list = |name, object: Object, required: [&str; 3]| {
        let object = required.into_iter().fold(object, Object::required);
        Array::new().items(describe::component(components, name, RefOr::Type(object.into())))
    };
    let errors = list("FieldError", field, ["field", "code", "message"]);
    let violations = list("Violation", violation, ["type", "subject", "description"]);
    let problem = Object::new()
        .description("What went wrong (RFC 9457). Some codes come with members of their own")
        .property("type", text(100).description("Says no more than the status").example("about:blank"))
        .property("title", text(100).description("Of the status"))
        .property("status", describe::integer(400..=599).description("The HTTP status"))
        .property("detail", text(8000).description("For people"))
        .property("instance", text(8000).description("The path that was asked"))
        .property("code", code().description("Stable, snake_case: what programs decide by"))
        .property("request_id", text(128).description("Find it in the logs"))
        .property("errors", errors.max_items(MOST_LISTED).description("Every field that is not valid"))
        .property("violations", violations.max_items(MOST_LISTED).description("What stands in the way"))
        .additional_properties(AdditionalProperties::FreeForm(true));
    let problem = ["type", "title", "status", "detail", "instance", "code", "request_id"]
        .into_iter()
        .fold(problem, Object::required);
    describe::component(components, "Problem", RefOr::Type(problem.into()));
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
