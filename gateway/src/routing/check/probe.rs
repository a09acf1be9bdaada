//! One question to one backend, over a connection of its own: whether new connections work is part of the question.

use std::pin::pin;

use crate::routing::Backend;
use crate::upstream::{self, Stream};
use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, Version, header};
use http_body_util::{BodyExt, Empty, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use shop_balance::Trouble;
use shop_discovery::Protocol;

const CHECK: &str = "/grpc.health.v1.Health/Check";
const AGENT: HeaderValue = HeaderValue::from_static("shop-gateway-health");
/// An empty `HealthCheckRequest` in its frame: uncompressed, no bytes.
const QUESTION: &[u8] = &[0, 0, 0, 0, 0];
/// `HealthCheckResponse { status: SERVING }` in its frame: uncompressed, two bytes, field 1, value 1.
const SERVING: &[u8] = &[0, 0, 0, 0, 2, 8, 1];
/// An answer to a check has a few bytes.
const LONGEST_ANSWER: usize = 4096;
const UNIMPLEMENTED: u8 = 12;
const UNAVAILABLE: u8 = 14;

/// Asks; the caller limits the time.
pub(crate) async fn ask(backend: &Backend, path: &str) -> Result<(), Trouble> {
    let stream = backend.endpoint.dial(backend.protocol).await.map_err(|error| {
        let is_own = shop_runtime::is_shortage(&error) || upstream::is_unusable(&error);
        if is_own { Trouble::Unasked(error.to_string()) } else { silent(error) }
    })?;
    match backend.protocol {
        Protocol::Http => http(stream, backend, path).await,
        Protocol::Grpc => grpc(stream, backend).await,
    }
}

async fn http(stream: Stream, backend: &Backend, path: &str) -> Result<(), Trouble> {
    let request = request(backend, path, AGENT).map_err(silent)?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(silent)?;
    let response = alongside(connection, sender.send_request(request)).await.map_err(silent)?;
    match response.status() {
        status if status.is_success() => Ok(()),
        status @ StatusCode::SERVICE_UNAVAILABLE => Err(Trouble::Declines(format!("{path} answered {status}"))),
        status => Err(Trouble::Silent(format!("{path} answered {status}"))),
    }
}

async fn grpc(stream: Stream, backend: &Backend) -> Result<(), Trouble> {
    let request = Request::builder()
        .method(Method::POST)
        .version(Version::HTTP_2)
        .uri(format!("{}{CHECK}", backend.label()))
        .header(header::CONTENT_TYPE, "application/grpc")
        .header(header::TE, "trailers")
        .header(header::USER_AGENT, AGENT)
        .body(Full::new(Bytes::from_static(QUESTION)))
        .map_err(silent)?;
    let (mut sender, connection) =
        http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.map_err(silent)?;
    let exchange = async {
        let response = sender.send_request(request).await.map_err(silent)?;
        verdict(response).await
    };
    alongside(connection, exchange).await
}

/// Whether the service is up. One without the health service is: it speaks gRPC, and nobody asked for more.
async fn verdict(response: Response<Incoming>) -> Result<(), Trouble> {
    let (head, body) = response.into_parts();
    if head.status != StatusCode::OK {
        return Err(Trouble::Silent(format!("the health check answered {}", head.status)));
    }
    let mut status = crate::message::grpc::status(&head.headers);
    let mut message = Bytes::new();
    if status.is_none() {
        let whole = Limited::new(body, LONGEST_ANSWER).collect().await;
        let whole = whole.map_err(|error| Trouble::Silent(error.to_string()))?;
        status = whole.trailers().and_then(crate::message::grpc::status);
        message = whole.to_bytes();
    }
    match status {
        Some(0) if *message == *SERVING => Ok(()),
        Some(0) => Err(Trouble::Declines("the health check answered that it is not serving".to_owned())),
        Some(UNIMPLEMENTED) => Ok(()),
        Some(UNAVAILABLE) => Err(Trouble::Declines("the health check answered that it is unavailable".to_owned())),
        Some(status) => Err(Trouble::Silent(format!("the health check failed with gRPC status {status}"))),
        None => Err(Trouble::Silent("the health check answered without a gRPC status".to_owned())),
    }
}

/// A request of the gateway's own for what is at `path`, over a connection that nobody else uses.
pub(crate) fn request(backend: &Backend, path: &str, agent: HeaderValue) -> http::Result<Request<Empty<Bytes>>> {
    Request::builder()
        .uri(path)
        .header(header::HOST, backend.label().split_once("://").map_or("", |(_, authority)| authority))
        .header(header::USER_AGENT, agent)
        .header(header::CONNECTION, "close")
        .body(Empty::new())
}

/// Drives `connection` until `work` is done. How the connection ends is seen in what becomes of the work.
pub(crate) async fn alongside<T>(
    connection: impl Future<Output = hyper::Result<()>>,
    work: impl Future<Output = T>,
) -> T {
    let mut work = pin!(work);
    tokio::select! {
        biased;
        done = &mut work => done,
        _ = connection => work.await,
    }
}

fn silent(error: impl std::error::Error) -> Trouble {
    let cause = error.source().map_or_else(|| error.to_string(), ToString::to_string);
    Trouble::Silent(cause)
}
