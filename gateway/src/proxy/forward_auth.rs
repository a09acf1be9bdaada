//! Asks another server whether a request may go on. Without an answer it may not.

use std::cell::OnceCell;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{self, HeaderName};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::{Body as _, Incoming};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use shop_fault::grpc_word;
use shop_http1::Edit;
use shop_http1::fields::Fields;
use tokio::sync::Semaphore;

use crate::message::client::X_FORWARDED_FOR;
use crate::message::reason::Reason;
use crate::message::refusal::Refusal;
use crate::routing::routes::ForwardAuth;

/// Longest body of an answer, in bytes: a page for people fits.
const LONGEST: usize = 64 * 1024;
/// Longest head of an answer, in bytes; one of up to twice that passes where hyper reads its end with its beginning.
const LONGEST_HEAD: usize = 32 * 1024;
/// Questions of one worker at once. Beyond, the server that is asked does not keep up, and nobody is helped by more of them.
const AT_ONCE: usize = 1024;
/// Unused connections that one worker keeps, and for how long.
const KEPT: usize = 32;
const KEPT_FOR: Duration = Duration::from_secs(30);

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
    Refused(Response<Bytes>),
}

/// Asks; the error is for a server that does not answer as it should, or not in time.
pub(super) async fn ask<F: Fields>(auth: &ForwardAuth, question: &Question<'_, F>) -> Result<Answer, Refusal> {
    let asker = ASKER.with(|asker| asker.get_or_init(Asker::new).clone());
    let Ok(_place) = asker.places.try_acquire() else {
        return Err(unavailable(&"too many requests wait for it already"));
    };
    let request = request(auth, question).map_err(|error| unavailable(&error))?;
    match tokio::time::timeout(auth.timeout, exchange(auth, &asker.client, request)).await {
        Ok(answer) => answer,
        Err(_) => Err(unavailable(&format!("no answer within {:?}", auth.timeout))),
    }
}

/// A worker's own connections: a request never crosses from thread to thread.
#[derive(Clone)]
struct Asker {
    client: Client<HttpConnector, Empty<Bytes>>,
    places: Arc<Semaphore>,
}

thread_local! {
    static ASKER: OnceCell<Asker> = const { OnceCell::new() };
}

impl Asker {
    fn new() -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(KEPT_FOR)
            .pool_max_idle_per_host(KEPT)
            .http1_max_buf_size(LONGEST_HEAD)
            .build(connector);
        Self { client, places: Arc::new(Semaphore::new(AT_ONCE)) }
    }
}

fn request<F: Fields>(auth: &ForwardAuth, question: &Question<'_, F>) -> Result<Request<Empty<Bytes>>, http::Error> {
    let Question { method, path, query, host, is_secure, client, headers, request_id } = question;
    let mut request = Request::get(auth.uri.clone()).body(Empty::new())?;
    let onward = request.headers_mut();
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
    Ok(request)
}

async fn exchange(
    auth: &ForwardAuth,
    client: &Client<HttpConnector, Empty<Bytes>>,
    request: Request<Empty<Bytes>>,
) -> Result<Answer, Refusal> {
    let response = client.request(request).await.map_err(|error| unavailable(&error))?;
    let (head, body) = response.into_parts();
    if head.status.is_success() {
        let mut granted = Granted::new();
        for name in &auth.headers {
            granted.extend(head.headers.get_all(name).iter().map(|value| (name.clone(), value.clone())));
        }
        // Nobody needs it, but what was read to its end leaves a connection that can be used again.
        if !body.is_end_stream() {
            let _ = read(body).await;
        }
        return Ok(Answer::Granted(granted));
    }
    if head.status.is_informational() {
        return Err(unavailable(&format!("it answered {}", head.status)));
    }
    let mut answer = Response::new(read(body).await?);
    *answer.status_mut() = head.status;
    for name in &TOLD {
        for value in head.headers.get_all(name) {
            answer.headers_mut().append(name, value.clone());
        }
    }
    Ok(Answer::Refused(answer))
}

/// The body, if it is not too long.
async fn read(body: Incoming) -> Result<Bytes, Refusal> {
    let whole = Limited::new(body, LONGEST).collect().await;
    whole.map(http_body_util::Collected::to_bytes).map_err(|error| unavailable(&error))
}

/// What is said to the client is nothing of the server that was asked; the log has it.
fn unavailable(error: &dyn std::fmt::Display) -> Refusal {
    tracing::debug!(%error, "the server that says who may use a route gave no answer");
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
pub(super) fn refused(mut answer: Response<Bytes>, method: &Method, is_grpc: bool) -> (Response<Bytes>, Option<u8>) {
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

fn grpc(said: &HeaderMap, code: u8) -> Response<Bytes> {
    let mut answer = Response::new(Bytes::new());
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
