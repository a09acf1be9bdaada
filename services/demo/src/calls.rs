//! Calls in cleartext, with a limit to how long an answer may take.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;

/// Why nobody answered, in one word.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Silence(pub(super) &'static str);

/// Makes calls, and keeps connections for the next ones.
#[derive(Debug, Clone)]
pub(super) struct Http {
    client: Client<HttpConnector, Full<Bytes>>,
    patience: Duration,
}

impl Http {
    /// Waits for a whole answer no longer than `patience`.
    pub(super) fn new(patience: Duration) -> Self {
        Self { client: Client::builder(TokioExecutor::new()).build_http(), patience }
    }

    /// The answer to what `request` asks with `body`.
    pub(super) async fn send(
        &self,
        request: http::request::Builder,
        body: impl Into<Bytes>,
    ) -> Result<Response<Bytes>, Silence> {
        let request = request.body(Full::new(body.into())).map_err(|_| Silence("not_a_request"))?;
        let answer = tokio::time::timeout(self.patience, self.exchange(request)).await;
        answer.unwrap_or(Err(Silence("client_timeout")))
    }

    async fn exchange(&self, request: Request<Full<Bytes>>) -> Result<Response<Bytes>, Silence> {
        let response = self.client.request(request).await;
        let response =
            response.map_err(|error| Silence(if error.is_connect() { "not_connected" } else { "broken_off" }))?;
        let (head, body) = response.into_parts();
        let body = body.collect().await.map_err(|_| Silence("broken_off"))?;
        Ok(Response::from_parts(head, body.to_bytes()))
    }
}
