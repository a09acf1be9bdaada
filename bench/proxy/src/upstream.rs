//! The backend behind the proxies: bodies of three sizes, an echo, a unary gRPC method, and a count of what came.

use std::convert::Infallible;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http::{HeaderMap, HeaderValue, Method, Request, Response, header};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use tokio::net::TcpListener;

use crate::contestant::free_port;
use crate::process::Process;
use crate::scenario::body;

/// gRPC's own frame (flag, length) around an answer of health checks that says SERVING.
const SERVING: &[u8] = &[0, 0, 0, 0, 2, 0x08, 0x01];

/// What came so far.
#[derive(Default)]
struct Counts {
    connections: AtomicU64,
    requests: AtomicU64,
}

/// The bodies that are asked for again and again.
struct Bodies([(&'static str, Bytes); 4]);

/// Starts it as a process of its own, with its log in `dir`; the port where it listens.
pub(crate) async fn start(dir: &Path) -> anyhow::Result<(Process, u16)> {
    let port = free_port()?;
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["upstream", &port.to_string()]);
    let mut upstream = Process::start("upstream", &mut command, &dir.join("upstream.log"))?;
    upstream.listens(port).await?;
    Ok((upstream, port))
}

/// Serves HTTP/1.1 and HTTP/2 on `port` of the loopback until it is killed.
pub(crate) async fn run(port: u16) -> anyhow::Result<()> {
    let listener = TcpListener::bind(("127.0.0.1", port)).await?;
    let counts = Arc::new(Counts::default());
    let large = body(1024 * 1024);
    let bodies = [("/1k", body(1024)), ("/64k", body(64 * 1024)), ("/large", large.clone()), ("/1m", large)];
    let bodies = Arc::new(Bodies(bodies));
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http2().max_concurrent_streams(1000);
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        counts.connections.fetch_add(1, Relaxed);
        let (counts, bodies, builder) = (Arc::clone(&counts), Arc::clone(&bodies), builder.clone());
        tokio::spawn(async move {
            let service = service_fn(move |request| {
                let (counts, bodies) = (Arc::clone(&counts), Arc::clone(&bodies));
                async move { Ok::<_, Infallible>(answer(request, &counts, &bodies).await) }
            });
            // A proxy that closes its connection is nothing to report.
            let _ = builder.serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

type Answer = Response<BoxBody<Bytes, Infallible>>;

async fn answer(request: Request<Incoming>, counts: &Counts, bodies: &Bodies) -> Answer {
    let path = request.uri().path();
    if path == "/counts" {
        let text = format!("{} {}", counts.connections.load(Relaxed), counts.requests.load(Relaxed));
        return plain(Bytes::from(text));
    }
    if path.starts_with("/grpc.health.v1.Health/") {
        return grpc(Bytes::from_static(SERVING));
    }
    if path == "/health/ready" {
        return plain(Bytes::from_static(b"ready"));
    }
    counts.requests.fetch_add(1, Relaxed);
    if path.ends_with("/endless") {
        return Response::new(endless(b"tick"));
    }
    if path.ends_with("/Endless") {
        let mut response = Response::new(endless(&[0; 4096]));
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        return response;
    }
    let found = bodies.0.iter().find(|(end, _)| path.ends_with(end)).map(|(_, body)| body.clone());
    let is_grpc = path.starts_with("/shop.");
    match (request.method(), found) {
        (&Method::GET, Some(body)) => plain(body),
        (&Method::POST, _) => match request.into_body().collect().await {
            Ok(body) if is_grpc => grpc(body.to_bytes()),
            Ok(body) => plain(body.to_bytes()),
            Err(_) => empty(400),
        },
        _ => empty(404),
    }
}

/// Something now and then, for as long as it is read.
fn endless(piece: &'static [u8]) -> BoxBody<Bytes, Infallible> {
    let ticks = tokio::time::interval(Duration::from_millis(20));
    BodyExt::boxed(StreamBody::new(stream::unfold(ticks, move |mut ticks| async move {
        ticks.tick().await;
        Some((Ok(Frame::data(Bytes::from_static(piece))), ticks))
    })))
}

fn plain(body: Bytes) -> Answer {
    let mut response = Response::new(Full::new(body).boxed());
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

fn empty(status: u16) -> Answer {
    let mut response = plain(Bytes::new());
    *response.status_mut() = http::StatusCode::from_u16(status).unwrap_or_default();
    response
}

fn grpc(message: Bytes) -> Answer {
    let trailers = async {
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", HeaderValue::from_static("0"));
        Some(Ok(trailers))
    };
    let mut response = Response::new(Full::new(message).with_trailers(trailers).boxed());
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    response
}
