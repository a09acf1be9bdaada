//! What spans say of requests and of the calls made for them, in OpenTelemetry's words for HTTP.

use http::header::HOST;
use http::uri::Authority;
use http::{HeaderValue, Method, StatusCode, Version};
use shop_http::method;
use shop_http1::Edit;
use shop_http1::fields::Fields as _;
use shop_http1::{request_head, response_head};
use shop_telemetry::{About, KeyValue, Span};

use super::TRACEPARENT;
use crate::message::reason::Reason;
use crate::message::{grpc, request_id};
use crate::routing::Backend;

fn version(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "1.0",
        Version::HTTP_2 => "2",
        _ => "1.1",
    }
}

/// A request from a client. Without the query, in which people search for what is theirs, and without their address.
pub(super) fn about(request: &request_head::Parts, encrypted: bool) -> About {
    let mut attributes = vec![
        KeyValue::new("http.request.method", method::known(&request.method)),
        KeyValue::new("url.scheme", if encrypted { "https" } else { "http" }),
        KeyValue::new("url.path", request.uri.path().to_owned()),
        KeyValue::new("network.protocol.version", version(request.version)),
    ];
    let host = request.headers.text(&HOST);
    let authority = request.uri.authority().map(Authority::as_str).or(host);
    if let Some(authority) = authority.and_then(|text| text.parse::<Authority>().ok()) {
        attributes.push(KeyValue::new("server.address", authority.host().to_owned()));
        attributes.extend(authority.port_u16().map(|port| KeyValue::new("server.port", i64::from(port))));
    }
    (method::verb(&request.method).into(), attributes)
}

/// A call to a backend; `retries` came before it.
pub(super) fn call(verb_of: &Method, backend: &Backend, path: &str, retries: u32) -> About {
    let (host, port) = backend.address();
    let mut attributes = vec![
        KeyValue::new("http.request.method", method::known(verb_of)),
        KeyValue::new("server.address", host.to_owned()),
        KeyValue::new("server.port", i64::from(port)),
        KeyValue::new("url.full", format!("{}{path}", backend.label())),
    ];
    if retries > 0 {
        attributes.push(KeyValue::new("http.request.resend_count", i64::from(retries)));
    }
    (method::verb(verb_of).into(), attributes)
}

/// Lets the backend go on from `span`.
pub(crate) fn hand_on(span: &Span, headers: &mut impl Edit) {
    if let Some(trace) = span.trace()
        && let Ok(mut traceparent) = HeaderValue::from_str(trace.text().as_str())
    {
        request_id::once(&mut traceparent);
        headers.set(TRACEPARENT.clone(), traceparent);
    }
}

/// What a backend answered, or why it did not.
pub(crate) fn answered(mut span: Span, response: Result<&response_head::Parts, Reason>) {
    if !span.is_recorded() {
        return;
    }
    match response {
        Ok(response) => {
            let status = response.status;
            span.set("http.response.status_code", i64::from(status.as_u16()));
            span.set("network.protocol.version", version(response.version));
            if let Some(status) = grpc::status(&response.headers) {
                span.set("rpc.response.status_code", shop_fault::grpc_word(status.into()));
            }
            if status.is_client_error() || status.is_server_error() {
                span.fail(status.as_u16().to_string());
            }
        }
        Err(reason) => span.fail(reason.word()),
    }
}

/// How the request ended. A refusal is the client's mistake: nothing failed here.
pub(super) fn end(span: &mut Span, status: StatusCode, grpc_status: Option<u8>, reason: Option<Reason>) {
    if !span.is_recorded() {
        return;
    }
    span.set("http.response.status_code", i64::from(status.as_u16()));
    if let Some(status) = grpc_status {
        span.set("rpc.system.name", "grpc");
        span.set("rpc.response.status_code", shop_fault::grpc_word(status.into()));
    }
    if let Some(reason) = reason {
        span.set("shop.reason", reason.word());
    }
    if status.is_server_error() || reason == Some(Reason::ClientClosed) {
        match reason {
            Some(reason) => span.fail(reason.word()),
            None => span.fail(status.as_u16().to_string()),
        }
    }
}
