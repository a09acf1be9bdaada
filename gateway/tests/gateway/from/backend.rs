//! A backend that says its name and what it saw, over HTTP/1 and HTTP/2.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use serde_json::{Map, Value, json};

use crate::support::Upstream;

/// It, as long as this lives.
pub(super) struct Backend {
    pub(super) addr: SocketAddr,
    _upstream: Upstream,
}

impl Backend {
    pub(super) async fn start(name: &'static str) -> Self {
        let upstream = Upstream::raw(move |stream| async move {
            let answer = service_fn(move |request| async move { Ok::<_, Infallible>(answer(name, request).await) });
            let _ = auto::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), answer).await;
        })
        .await;
        Self { addr: upstream.addr, _upstream: upstream }
    }
}

/// What was seen is in the head, so that it is told of gRPC calls, too.
async fn answer(name: &str, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let (head, body) = request.into_parts();
    let length = body.collect().await.map_or(0, |body| body.to_bytes().len());
    if head.uri.path().starts_with("/slow") {
        tokio::time::sleep(Duration::from_secs(10)).await;
    }
    let mut headers = Map::new();
    for (name, value) in &head.headers {
        let value = String::from_utf8_lossy(value.as_bytes());
        let said = headers.get(name.as_str()).and_then(Value::as_str).map(|said| format!("{said}, {value}"));
        headers.insert(name.to_string(), said.unwrap_or_else(|| value.into_owned()).into());
    }
    if let Some(authority) = head.uri.authority() {
        headers.insert("host".to_owned(), authority.as_str().into());
    }
    let target = head.uri.path_and_query().map_or("", |target| target.as_str());
    let seen = json!({ "target": target, "headers": headers, "length": length }).to_string();
    let response = Response::builder().header("x-seen", seen).header("x-backend", name);
    let response = response.header("x-powered-by", "tests").header("x-internal", "yes");
    let is_grpc = headers.get("content-type").is_some_and(|kind| kind == "application/grpc");
    let response = if is_grpc {
        response.header("content-type", "application/grpc").header("grpc-status", "0").body(Full::default())
    } else {
        response.header("content-type", "text/plain").body(Full::from("seen"))
    };
    response.expect("an answer")
}
