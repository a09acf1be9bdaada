//! Asks another server whether a request may go on. Without an answer it may not.

use std::time::Duration;

use bytes::Bytes;
use http::header::{self, HeaderName};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode};
use http_body::Body as _;
use http_body_util::{BodyExt as _, Limited};
use shop_fault::grpc_word;
use shop_http1::Edit;
use shop_http1::fields::Fields;
use shop_http1::request_head::Parts;
use shop_http1::response_head::Response;
use tokio::time::Instant;

use crate::message::client::X_FORWARDED_FOR;
use crate::message::reason::Reason;
use crate::message::refusal::Refusal;
use crate::routing::routes::ForwardAuth;
use crate::upstream::body::RequestBody;
use crate::upstream::interim::Interim;
use crate::upstream::{ResponseBody, Timeouts};

/// Longest body of an answer, in bytes: a page for people fits.
const LONGEST: usize = 64 * 1024;
/// Unused connections that one worker keeps to one server.
const KEPT: usize = 32;

const X_FORWARDED_METHOD: HeaderName = HeaderName::from_static("x-forwarded-method");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_URI: HeaderName = HeaderName::from_static("x-forwarded-uri");
const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

/// What of a refusal is for the client, beside status and body.
const TOLD: [HeaderName; 7] = [
    header::CACHE_CONTROL,
    header::CONTENT_ENCODING,
    header::CONTENT_TYPE,
    header::LOCATION,
    header::RETRY_AFTER,
    header::SET_COOKIE,
    header::WWW_AUTHENTICATE,
];

/// What the question is about.
pub(super) struct Question<'a, F> {
    pub(super) method: &'a Method,
    /// In the form in which it was matched: what is decided on is what goes on.
    pub(super) path: &'a str,
    pub(super) query: Option<&'a str>,
    /// As the client's browser knows us.
    pub(super) host: &'a [u8],
    pub(super) is_secure: bool,
    pub(super) client: String,
    pub(super) headers: &'a F,
    pub(super) request_id: &'a HeaderValue,
}

/// What the server says to the service.
pub(super) type Granted = Vec<(HeaderName, HeaderValue)>;

/// What came of it.
pub(super) enum Answer {
    /// The request may go on, with these headers.
    Granted(Granted),
    /// This is what the client gets instead.
    Refused(http::Response<Bytes>),
}

/// Asks over the connections of `worker`; the error is for a server that does not answer as it should, or not in time.
pub(super) async fn ask<F: Fields>(
    auth: &ForwardAuth,
    question: &Question<'_, F>,
    worker: usize,
) -> Result<Answer, Refusal> {
    let authority = &auth.authority;
    let Ok(_place) = authority.places.try_acquire() else {
        return Err(unavailable("too many requests wait for it already"));
    };
    let head = head(auth, question).map_err(|error| unavailable(&error.to_string()))?;
    let begun = Instant::now();
    let timeouts = Timeouts {
        connect: auth.timeout,
        head: None,
        sign: auth.timeout,
        begun,
        end: Some(begun + auth.timeout),
        upload: None,
        pool_size: KEPT,
    };
    let exchanged = tokio::time::timeout(auth.timeout, exchange(auth, &head, worker, &timeouts)).await;
    match exchanged.unwrap_or_else(|_| Err(format!("no answer within {:?}", auth.timeout))) {
        Ok(answer) => {
            authority.answered();
            Ok(answer)
        }
        Err(error) => {
            authority.failed(&error);
            Err(unavailable(&error))
        }
    }
}

fn head<F: Fields>(auth: &ForwardAuth, question: &Question<'_, F>) -> Result<Parts, http::Error> {
    let Question { method, path, query, host, is_secure, client, headers, request_id } = question;
    let mut request = Request::get(auth.target.clone()).body(())?;
    let onward = request.headers_mut();
    onward.insert(header::HOST, auth.host.clone());
    for name in &auth.request_headers {
        if *name == header::COOKIE {
            // HTTP/2 sends cookies in pieces, HTTP/1.1 on one line (RFC 9113, section 8.2.3).
            let pieces: Vec<_> = headers.values(name).collect();
            if !pieces.is_empty() {
                onward.insert(name, HeaderValue::from_bytes(&pieces.join(&b"; "[..]))?);
            }
            continue;
        }
        for value in headers.values(name) {
            onward.append(name, HeaderValue::from_bytes(value)?);
        }
    }
    let uri = query.map_or_else(|| (*path).to_owned(), |query| format!("{path}?{query}"));
    onward.insert(X_FORWARDED_METHOD, HeaderValue::from_str(method.as_str())?);
    onward.insert(X_FORWARDED_PROTO, HeaderValue::from_static(if *is_secure { "https" } else { "http" }));
    onward.insert(X_FORWARDED_HOST, HeaderValue::from_bytes(host)?);
    onward.insert(X_FORWARDED_URI, HeaderValue::from_str(&uri)?);
    onward.insert(X_FORWARDED_FOR, HeaderValue::from_str(client)?);
    onward.insert(shop_http::request_id::HEADER, (*request_id).clone());
    Ok(request.into_parts().0.into())
}

async fn exchange(auth: &ForwardAuth, head: &Parts, worker: usize, timeouts: &Timeouts) -> Result<Answer, String> {
    let mut interim = Interim::new(None);
    let called = auth.authority.endpoint.http1(worker, head, RequestBody::none(), &mut interim, timeouts).await;
    let Response { head, body } = called.map_err(|failed| failed.detail)?.response;
    if head.status.is_success() {
        let mut granted = Granted::new();
        for name in &auth.headers {
            let values = head.headers.values(name).filter_map(|value| HeaderValue::from_bytes(value).ok());
            granted.extend(values.map(|value| (name.clone(), value)));
        }
        // Nobody needs it, but what was read to its end leaves a connection that can be used again.
        if !body.is_end_stream() {
            let _ = read(body).await;
        }
        return Ok(Answer::Granted(granted));
    }
    if head.status.is_informational() {
        return Err(format!("it answered {}", head.status));
    }
    let mut answer = http::Response::new(read(body).await?);
    *answer.status_mut() = head.status;
    for name in &TOLD {
        for value in head.headers.values(name).filter_map(|value| HeaderValue::from_bytes(value).ok()) {
            answer.headers_mut().append(name, value);
        }
    }
    Ok(Answer::Refused(answer))
}

/// The body, if it is not too long.
async fn read(body: ResponseBody) -> Result<Bytes, String> {
    let whole = Limited::new(body, LONGEST).collect().await;
    whole.map(http_body_util::Collected::to_bytes).map_err(|error| error.to_string())
}

/// What is said to the client is nothing of the server that was asked; the log has it.
fn unavailable(error: &str) -> Refusal {
    tracing::debug!(error, "whether a request may go on cannot be found out");
    let refusal =
        Refusal::new(Reason::AuthUnavailable, "whether this may go on cannot be found out just now; try again");
    refusal.retry_after(Duration::from_secs(1))
}

/// Takes off `headers` what only the server that was asked may say, and puts what it said there.
pub(super) fn grant(auth: &ForwardAuth, granted: Granted, headers: &mut impl Edit) {
    // Some servers read a name with underscores as the same.
    let plain = |byte: &u8| if *byte == b'_' { b'-' } else { byte.to_ascii_lowercase() };
    let is_own = |name: &[u8]| {
        auth.headers.iter().any(|own| own.as_str().bytes().map(|byte| plain(&byte)).eq(name.iter().map(plain)))
    };
    headers.remove_if(is_own);
    for (name, value) in granted {
        headers.add(name, value);
    }
}

/// A refusal as the client understands it, which asked with `method`.
pub(super) fn refused(
    mut answer: http::Response<Bytes>,
    method: &Method,
    is_grpc: bool,
) -> (http::Response<Bytes>, Option<u8>) {
    if is_grpc {
        let code = code(answer.status());
        return (grpc(answer.headers(), code), Some(code));
    }
    if *method == Method::HEAD {
        let length = answer.body().len();
        answer.headers_mut().insert(header::CONTENT_LENGTH, length.into());
        answer.body_mut().clear();
    }
    (answer, None)
}

/// The status of a call, by that of HTTP (gRPC, "HTTP to gRPC Status Code Mapping").
fn code(status: StatusCode) -> u8 {
    match status.as_u16() {
        400 => 13,
        401 => 16,
        403 => 7,
        404 => 12,
        429 | 502 | 503 | 504 => 14,
        _ => 2,
    }
}

fn grpc(said: &HeaderMap, code: u8) -> http::Response<Bytes> {
    let mut answer = http::Response::new(Bytes::new());
    let headers = answer.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert(GRPC_STATUS, HeaderValue::from(u16::from(code)));
    headers.insert(GRPC_MESSAGE, HeaderValue::from_static(grpc_word(code.into())));
    for name in [header::WWW_AUTHENTICATE, header::RETRY_AFTER] {
        for value in said.get_all(&name) {
            headers.append(&name, value.clone());
        }
    }
    answer
}
