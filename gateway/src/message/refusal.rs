//! The gateway's own failures: a problem (RFC 9457) for HTTP, a trailers-only status for gRPC.

use std::borrow::Cow;
use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, header};
use shop_browser::csrf::Sender;
use shop_fault::FieldError;
use shop_http::problem::{self, Body};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use crate::message::reason::Reason;

/// Carries [`Reason::word`] on everything the gateway answers by itself.
pub(crate) const X_GATEWAY_REASON: HeaderName = HeaderName::from_static("x-gateway-reason");
/// `ErrorInfo.domain` of the suite's own errors, the gateway's among them.
const DOMAIN: &str = "shop";

/// A request the gateway answers itself, and why.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) reason: Reason,
    pub(crate) detail: Cow<'static, str>,
    pub(crate) retry_after: Option<Duration>,
    /// Further headers, such as `Allow`.
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
    /// What of a change is wrong.
    pub(crate) errors: Vec<FieldError>,
    /// What a browser shows instead of the problem.
    page: Option<&'static str>,
}

/// Refuses a change that a page of another site makes.
pub(crate) fn own_pages_only(sender: Sender) -> Result<(), Refusal> {
    match sender {
        Sender::Trusted => Ok(()),
        Sender::Foreign => {
            Err(Refusal::new(Reason::CrossOriginRefused, "a page of another site may not make this request"))
        }
    }
}

/// What is said of a token. That there is none, or that its bearer may not do this, the gateway says of routes whose access asks
/// for it; of all others it is for services to say.
impl From<shop_identity::Refusal> for Refusal {
    fn from(refusal: shop_identity::Refusal) -> Self {
        use shop_identity::Refusal as Token;
        let reason = match refusal {
            Token::Missing => Reason::TokenMissing,
            Token::Invalid => Reason::TokenInvalid,
            Token::Forbidden => Reason::Forbidden,
            Token::Expired => Reason::TokenExpired,
            Token::Unavailable(_) => Reason::IdentityUnavailable,
        };
        let mut found = Self::new(reason, refusal.detail());
        if let Token::Unavailable(after) = refusal {
            found.retry_after = Some(after);
        }
        found.headers.extend(refusal.challenge().map(|challenge| (header::WWW_AUTHENTICATE, challenge)));
        found
    }
}

impl Refusal {
    /// A refusal; `detail` is for people.
    pub(crate) fn new(reason: Reason, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { reason, detail: detail.into(), retry_after: None, headers: Vec::new(), errors: Vec::new(), page: None }
    }

    /// Of a request to `route` with a `method` that it does not take; `allowed` are those it does.
    pub(crate) fn of_method(route: &str, method: &Method, allowed: &'static str) -> Self {
        Self::new(Reason::MethodRefused, format!("{route} does not take {method}"))
            .header(header::ALLOW, HeaderValue::from_static(allowed))
    }

    /// Says when a retry makes sense.
    pub(crate) fn retry_after(mut self, after: Duration) -> Self {
        self.retry_after = Some(after);
        self
    }

    /// Names the fields that are wrong.
    pub(crate) fn fields(mut self, errors: Vec<FieldError>) -> Self {
        self.errors = errors;
        self
    }

    /// Answers with this HTML, in which a person can do something about it.
    pub(crate) fn page(mut self, html: &'static str) -> Self {
        self.page = Some(html);
        self
    }

    /// Adds a header to the answer.
    pub(crate) fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// The answer to an HTTP client.
    pub(crate) fn problem(self, instance: &str, request_id: &HeaderValue) -> Response<Bytes> {
        let status = self.reason.status();
        if let Some(page) = self.page {
            let mut response = Response::new(Bytes::from_static(page.as_bytes()));
            *response.status_mut() = status;
            self.common_headers(response.headers_mut(), HeaderValue::from_static("text/html; charset=utf-8"));
            return response;
        }
        let title = status.canonical_reason().unwrap_or("Refused");
        let body = Body::new(status, title, self.reason.word(), &self.detail)
            .at(instance, request_id.to_str().unwrap_or_default())
            .with_fields(&self.errors)
            .to_json();
        let mut response = Response::new(Bytes::from(body));
        *response.status_mut() = status;
        self.common_headers(response.headers_mut(), problem::MEDIA_TYPE);
        response
    }

    /// The answer to a gRPC client: HTTP 200 with the status in the head and no body.
    pub(crate) fn grpc(self) -> Response<Bytes> {
        let mut response = Response::new(Bytes::new());
        *response.status_mut() = StatusCode::OK;
        let status = status_headers(self.reason, &self.detail, self.retry_after);
        self.common_headers(response.headers_mut(), HeaderValue::from_static("application/grpc"));
        response.headers_mut().extend(status);
        response
    }

    fn common_headers(self, headers: &mut HeaderMap, content_type: HeaderValue) {
        headers.insert(header::CONTENT_TYPE, content_type);
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(X_GATEWAY_REASON, self.reason.header());
        if let Some(after) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(problem::seconds(after).max(1)));
        }
        headers.extend(self.headers);
    }
}

/// The status of a failure of the gateway's, for trailers.
pub(crate) fn grpc_status(reason: Reason, detail: &str) -> HeaderMap {
    status_headers(reason, detail, None)
}

/// `grpc-status`, `grpc-message` and `grpc-status-details-bin`, whose `ErrorInfo` has the reason as a service's has its code.
fn status_headers(reason: Reason, detail: &str, retry_after: Option<Duration>) -> HeaderMap {
    let mut details = ErrorDetails::with_error_info(reason.word(), DOMAIN, HashMap::new());
    if let Some(after) = retry_after {
        details.set_retry_info(Some(after));
    }
    let status = Status::with_error_details(Code::from_i32(reason.grpc().into()), detail, details);
    let mut headers = HeaderMap::with_capacity(4);
    if let Err(error) = status.add_header(&mut headers) {
        tracing::error!(error = %error, "a gRPC status could not be written");
    }
    headers.insert(X_GATEWAY_REASON, reason.header());
    headers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_names_its_reason_three_times() {
        let refusal =
            Refusal::new(Reason::NoHealthyBackend, "product has no backend").retry_after(Duration::from_millis(1500));
        let response = refusal.problem("/api/products", &HeaderValue::from_static("r-1"));
        assert_eq!(response.status(), 503);
        assert_eq!(response.headers()[X_GATEWAY_REASON], "no_healthy_backend");
        assert_eq!(response.headers()[header::RETRY_AFTER], "2");
        assert_eq!(response.headers()[header::CONTENT_TYPE], "application/problem+json");
        let body: serde_json::Value = serde_json::from_slice(response.body()).expect("json");
        assert_eq!(body["code"], "no_healthy_backend");
        assert_eq!((&body["status"], &body["request_id"]), (&503.into(), &"r-1".into()));
    }

    #[test]
    fn a_grpc_refusal_is_trailers_only() {
        let response = Refusal::new(Reason::UpstreamTimeout, "100 % späť").retry_after(Duration::from_secs(2)).grpc();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["grpc-status"], "4");
        let status = Status::from_header_map(response.headers()).expect("a status");
        assert_eq!(status.message(), "100 % späť");
        assert_eq!(response.headers()[header::CONTENT_TYPE], "application/grpc");
        assert!(response.body().is_empty());
        let details = status.get_error_details();
        let info = details.error_info().expect("says why");
        assert_eq!((info.reason.as_str(), info.domain.as_str()), ("upstream_timeout", DOMAIN));
        assert_eq!(details.retry_info().and_then(|retry| retry.retry_delay), Some(Duration::from_secs(2)));
    }
}
