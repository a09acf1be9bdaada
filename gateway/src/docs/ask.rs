//! Asking a service for its description, over a connection of its own: it takes nothing from the pools of calls, and says
//! nothing about breakers and health.

use http::{HeaderValue, StatusCode, header};
use http_body_util::{BodyExt as _, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use shop_balance::Seen;

use crate::routing::check::probe::{alongside, request};
use crate::routing::{Backend, Member};

const AGENT: HeaderValue = HeaderValue::from_static("shop-gateway-docs");

/// A description is not longer than this: twenty times that of the largest service.
const LONGEST: usize = 1024 * 1024;

/// Backends that are asked at most, one after the other.
const TRIES: usize = 3;

/// Why there is no description.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("it has no backend")]
    Nobody,
    #[error("no connection: {0}")]
    Connect(#[from] std::io::Error),
    #[error("no answer: {0}")]
    Http(#[from] hyper::Error),
    #[error("no request: {0}")]
    Request(#[from] http::Error),
    #[error("it answered {0}")]
    Status(StatusCode),
    #[error("the answer is cut off, or longer than {LONGEST} bytes")]
    Body,
    #[error("the answer is not JSON: {0}")]
    Json(#[from] serde_json::Error),
    #[error("the answer is not OpenAPI 3.1")]
    Version,
}

/// The description of the first backend that has one; those that look well are asked first. The caller limits the time.
pub(super) async fn ask(members: &[Member], path: &str) -> Result<Value, Error> {
    let mut order: Vec<_> = members.iter().filter(|member| !member.draining).map(|member| &*member.backend).collect();
    order.sort_by_key(|backend| backend.state() == Seen::Down);
    let mut error = Error::Nobody;
    for backend in order.into_iter().take(TRIES) {
        match ask_one(backend, path).await {
            Ok(document) => return Ok(document),
            Err(problem) => error = problem,
        }
    }
    Err(error)
}

async fn ask_one(backend: &Backend, path: &str) -> Result<Value, Error> {
    let stream = backend.endpoint.dial(backend.protocol).await?;
    let mut request = request(backend, path, AGENT)?;
    request.headers_mut().insert(header::ACCEPT, HeaderValue::from_static("application/json"));
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let exchange = async {
        let response = sender.send_request(request).await?;
        if response.status() != StatusCode::OK {
            return Err(Error::Status(response.status()));
        }
        let body = Limited::new(response.into_body(), LONGEST).collect().await.map_err(|_| Error::Body)?;
        understand(&body.to_bytes())
    };
    alongside(connection, exchange).await
}

fn understand(body: &[u8]) -> Result<Value, Error> {
    let document: Value = serde_json::from_slice(body)?;
    let is_ours = document["openapi"].as_str().is_some_and(|version| version.starts_with("3.1."));
    if is_ours && document["paths"].is_object() { Ok(document) } else { Err(Error::Version) }
}
