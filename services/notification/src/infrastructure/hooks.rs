//! Webhooks over HTTP, as Standard Webhooks has them. A receiver is a stranger: it may lie, stall and never end, and
//! its name may lead inside our own network.

mod connect;
mod failure;
mod message;
#[cfg(test)]
mod receiver;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, RETRY_AFTER, USER_AGENT};
use http::{HeaderMap, Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::{ClientConfig, RootCertStore};
use shop_telemetry::{About, KeyValue, Span, SpanKind};
use time::OffsetDateTime;
use tokio::time::{Instant, timeout_at};

use crate::config::WebhookSettings;
use crate::domain::{Call, Failure, HookUrl, Hooks, Next, Outcome, Reach};

use connect::{Bounded, Gate, Internet, Network};

/// The most of an answer's body that is read: enough for whatever a receiver says in thanks, so that its connection
/// can be used again.
const MAX_BODY: usize = 64 * 1024;
/// The longest that is waited for the body. Its status says everything, so nothing but the connection hangs on it.
const BODY_PATIENCE: Duration = Duration::from_secs(1);
/// The largest head of an answer, headers included.
const MAX_HEAD: usize = 64 * 1024;
/// Idle connections kept to one receiver, and for how long: events come in bursts, and there may be a hundred receivers.
const MAX_IDLE: usize = 4;
const IDLE: Duration = Duration::from_secs(30);

/// Who we say we are.
const AGENT: &str = concat!(env!("CARGO_PKG_NAME"), "/", env!("CARGO_PKG_VERSION"));

/// Sends webhooks, and only to addresses that `webhook.allow_private` lets it reach.
#[derive(Debug)]
pub(crate) struct HttpHooks {
    client: Client<Bounded<HttpsConnector<Gate>>, Full<Bytes>>,
    reach: Reach,
    timeout: Duration,
}

impl HttpHooks {
    /// Gets ready to send; nothing is connected yet. Receivers are trusted that have a certificate of a public authority
    /// or of one that this machine trusts (`SSL_CERT_FILE`, `SSL_CERT_DIR`).
    pub(crate) fn open(settings: &WebhookSettings) -> anyhow::Result<Self> {
        let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
        // What cannot be read of them is left out: the public ones are there in any case.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        Self::with(settings, Arc::new(Internet), roots)
    }

    fn with(settings: &WebhookSettings, network: Arc<dyn Network>, roots: RootCertStore) -> anyhow::Result<Self> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let (reach, timeout) = (settings.reach(), settings.timeout.get());
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_all_versions()
            .wrap_connector(Gate::new(network, reach, timeout));
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(MAX_IDLE)
            .http1_max_buf_size(MAX_HEAD)
            .http2_max_header_list_size(u32::try_from(MAX_HEAD).unwrap_or(u32::MAX))
            .build(Bounded::new(connector, timeout));
        Ok(Self { client, reach, timeout })
    }

    /// The request, or why there will never be one. The URL is judged again: settings may have changed since it was
    /// stored.
    fn request(&self, call: &Call<'_>) -> Result<Request<Full<Bytes>>, Outcome> {
        let anywhere = Reach { private: true, ..self.reach };
        let refused = |message| Outcome::give_up("url_refused", format!("the URL {message}"));
        HookUrl::parse(call.url, anywhere).map_err(refused)?;
        let url = HookUrl::parse(call.url, self.reach)
            .map_err(|message| Outcome::give_up("address_refused", format!("the URL {message}")))?;
        let uri: Uri = url.as_str().parse().map_err(|_| refused("cannot be called"))?;
        let body = message::body(call.event)
            .map_err(|_| Outcome::give_up("event_refused", "the event cannot be written as JSON"))?;
        let (id, at) = (call.id.to_string(), call.at.unix_timestamp());
        Request::post(uri)
            .header(CONTENT_TYPE, "application/json")
            .header(USER_AGENT, AGENT)
            .header("webhook-signature", message::signatures(&id, at, &body, call.secrets))
            .header("webhook-id", id)
            .header("webhook-timestamp", at)
            .body(Full::from(body))
            .map_err(|_| refused("cannot be called"))
    }
}

#[async_trait]
impl Hooks for HttpHooks {
    async fn send(&self, call: Call<'_>) -> Outcome {
        let request = match self.request(&call) {
            Ok(request) => request,
            Err(outcome) => return outcome,
        };
        let mut span = Span::child(SpanKind::Client, || about(request.uri()));
        let deadline = Instant::now() + self.timeout;
        let outcome = match timeout_at(deadline, self.client.request(request)).await {
            Err(_) => Outcome::retry("timeout", format!("no answer within {:?}", self.timeout)),
            Ok(Err(error)) => failure::of(&error),
            Ok(Ok(response)) => {
                span.set("http.response.status_code", i64::from(response.status().as_u16()));
                let outcome = judge(response.status(), response.headers(), call.at);
                let patience = deadline.min(Instant::now() + BODY_PATIENCE);
                // However that ends: the receiver has said what became of the message.
                timeout_at(patience, drain(response.into_body())).await.ok();
                outcome
            }
        };
        if let Outcome::Failed { failure, .. } = &outcome {
            span.fail(failure.code.clone());
        }
        outcome
    }
}

/// What a call's span says, in OpenTelemetry's words for HTTP. Not the path, which may hold a secret of the receiver's.
fn about(uri: &Uri) -> About {
    let mut attributes = vec![KeyValue::new("http.request.method", "POST")];
    if let (Some(scheme), Some(host)) = (uri.scheme_str(), uri.host()) {
        let port = uri.port_u16().unwrap_or(if scheme == "https" { 443 } else { 80 });
        attributes.extend([
            KeyValue::new("url.scheme", scheme.to_owned()),
            KeyValue::new("server.address", host.to_owned()),
            KeyValue::new("server.port", i64::from(port)),
        ]);
    }
    ("POST".into(), attributes)
}

/// Reads what there is of the body, up to a bound, so that the connection is free for the next message.
async fn drain(mut body: Incoming) {
    let mut left = MAX_BODY;
    while let Some(Ok(frame)) = body.frame().await {
        let length = frame.data_ref().map_or(0, Bytes::len);
        let Some(rest) = left.checked_sub(length) else { return };
        left = rest;
    }
}

/// What an answer means.
fn judge(status: StatusCode, headers: &HeaderMap, now: OffsetDateTime) -> Outcome {
    if status.is_success() {
        return Outcome::Sent;
    }
    let message = format!("the receiver answered {}", status.as_u16());
    let (code, next) = match status {
        StatusCode::GONE => ("endpoint_gone", Next::Disable),
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
            ("http_status", Next::Retry(retry_after(headers, now)))
        }
        _ if status.is_redirection() => ("redirect", Next::Retry(None)),
        _ => ("http_status", Next::Retry(None)),
    };
    Outcome::Failed { failure: Failure::new(code, message), next }
}

/// The pause that a receiver asks for: seconds, or a date (RFC 9110, section 10.2.3).
fn retry_after(headers: &HeaderMap, now: OffsetDateTime) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        // More digits than fit are still long.
        return Some(Duration::from_secs(text.parse().unwrap_or(u64::from(u32::MAX))));
    }
    let date = OffsetDateTime::from(httpdate::parse_http_date(text).ok()?);
    Some((date - now).try_into().unwrap_or_default())
}
