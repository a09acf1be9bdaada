//! One call over HTTPS: its headers, its time, its repetitions, and what the metrics say of it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue, USER_AGENT};
use http::{Method, Request};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use prometheus::IntCounterVec;
use rustls::{ClientConfig, RootCertStore};
use serde_json::Value;
use shop_balance::{Breaker, Outcome, SlowStart};
use shop_telemetry::{Histograms, KeyValue, Metrics, Span, SpanKind};
use tokio::time::{Instant, sleep, timeout_at};

use crate::error::Error;
use crate::retry::{self, ATTEMPTS, Attempt};
use crate::settings::StripeSettings;

/// The version of the API that requests and answers are in, whatever the account's own is.
pub const VERSION: &str = "2026-08-26.dahlia";

/// The longest answer, in bytes. A page of a hundred refunds has about a tenth.
const LONGEST: usize = 1024 * 1024;
/// The largest head of an answer.
const LONGEST_HEAD: usize = 64 * 1024;
/// Idle connections that are kept, and for how long: a checkout makes its calls within seconds of each other.
const MAX_IDLE: usize = 16;
const IDLE: Duration = Duration::from_secs(45);
/// Who we say we are.
const AGENT: &str = concat!(env!("CARGO_PKG_NAME"), "/", env!("CARGO_PKG_VERSION"));

/// What is asked.
pub(crate) struct Call<'a> {
    /// In a word, for the metrics and the trace.
    pub(crate) name: &'static str,
    pub(crate) method: Method,
    /// From the first slash on, with its query.
    pub(crate) path: String,
    /// The form that is sent.
    pub(crate) form: Option<String>,
    /// Under which Stripe acts once.
    pub(crate) key: Option<&'a str>,
}

/// Where Stripe is, and how it does.
pub(crate) struct Transport {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    base: String,
    authorization: HeaderValue,
    timeout: Duration,
    breaker: Option<Arc<Breaker>>,
    requests: IntCounterVec,
    seconds: Histograms,
}

impl Transport {
    pub(crate) fn open(settings: &StripeSettings, metrics: &Metrics) -> anyhow::Result<Self> {
        let mut authorization = HeaderValue::from_str(&format!("Bearer {}", settings.secret_key.expose()))?;
        authorization.set_sensitive(true);
        let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
        // What cannot be read of the machine's is left out: the public ones are there in any case.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        let tls = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let mut http = HttpConnector::new();
        http.enforce_http(false);
        http.set_nodelay(true);
        http.set_connect_timeout(Some(settings.connect_timeout.get()));
        let connector =
            HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1().wrap_connector(http);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(MAX_IDLE)
            .http1_max_buf_size(LONGEST_HEAD)
            .build(connector);
        let open =
            metrics.gauge("stripe_circuit_breaker_open", "Whether Stripe is left alone since it does not answer.");
        let rules = settings.circuit_breaker.rules();
        let breaker = rules.map(|rules| {
            let show = move |state| open.set(i64::from(state != shop_balance::breaker::State::Closed));
            Breaker::new(rules, "stripe", Arc::new(SlowStart::new(Duration::ZERO)), show)
        });
        Ok(Self {
            client,
            base: settings.base_url.trim_end_matches('/').to_owned(),
            authorization,
            timeout: settings.timeout.get(),
            breaker,
            requests: metrics.counters(
                "stripe_requests_total",
                "Requests to Stripe, repetitions among them, by what came of them.",
                &["call", "outcome"],
            ),
            seconds: metrics.histograms(
                "stripe_request_duration_seconds",
                "How long Stripe took to answer a request.",
                &["call"],
            ),
        })
    }

    /// Makes the call, and once more where that can help, until `deadline`.
    pub(crate) async fn send(&self, call: &Call<'_>, deadline: Instant) -> Result<Value, Error> {
        let permit = match &self.breaker {
            None => None,
            Some(breaker) => Some(breaker.permit(true).ok_or_else(|| {
                self.requests.with_label_values(&[call.name, "resting"]).inc();
                Error::Resting
            })?),
        };
        let result = self.repeat(call, deadline).await;
        if let Some(permit) = permit {
            permit.judge(match &result {
                Ok(_) | Err(Error::Refused(_)) => Outcome::Well,
                Err(Error::Lost(_) | Error::Unreadable(_)) => Outcome::Ill,
                Err(Error::Key(_) | Error::Resting) => Outcome::Silent,
            });
        }
        result
    }

    async fn repeat(&self, call: &Call<'_>, deadline: Instant) -> Result<Value, Error> {
        let mut made = 0;
        loop {
            made += 1;
            let attempt = self.attempt(call, deadline).await;
            if !attempt.again || made == ATTEMPTS {
                return attempt.result;
            }
            let pause = retry::pause(made, attempt.after);
            // What could not be answered any more is not asked.
            if Instant::now() + pause >= deadline {
                return attempt.result;
            }
            sleep(pause).await;
        }
    }

    async fn attempt(&self, call: &Call<'_>, deadline: Instant) -> Attempt {
        let began = Instant::now();
        let mut span = Span::child(SpanKind::Client, || {
            let attributes = vec![
                KeyValue::new("http.request.method", call.method.to_string()),
                KeyValue::new("peer.service", "stripe"),
            ];
            (format!("stripe {}", call.name).into(), attributes)
        });
        let attempt = match timeout_at(deadline.min(began + self.timeout), self.exchange(call)).await {
            Ok(attempt) => attempt,
            Err(_) => Attempt::lost(format!("nothing came within {:?}", began.elapsed())),
        };
        if attempt.result.is_err() {
            span.fail(attempt.outcome);
        }
        self.requests.with_label_values(&[call.name, attempt.outcome]).inc();
        self.seconds.with_label_values(&[call.name]).observe(began.elapsed().as_secs_f64());
        attempt
    }

    async fn exchange(&self, call: &Call<'_>) -> Attempt {
        let request = match self.request(call) {
            Ok(request) => request,
            Err(error) => return Attempt { again: false, ..Attempt::lost(format!("it cannot be asked: {error}")) },
        };
        let (head, body) = match self.client.request(request).await {
            Ok(response) => response.into_parts(),
            Err(error) => return Attempt::lost(root(&error)),
        };
        match Limited::new(body, LONGEST).collect().await {
            Ok(body) => Attempt::answered(head.status, &head.headers, &body.to_bytes()),
            Err(error) if error.is::<LengthLimitError>() => {
                Attempt::unreadable(format!("it is longer than {LONGEST} bytes"))
            }
            Err(error) => Attempt::lost(root(error.as_ref())),
        }
    }

    fn request(&self, call: &Call<'_>) -> http::Result<Request<Full<Bytes>>> {
        let mut request = Request::builder()
            .method(call.method.clone())
            .uri(format!("{}{}", self.base, call.path))
            .header(AUTHORIZATION, self.authorization.clone())
            .header("stripe-version", VERSION)
            .header(USER_AGENT, AGENT);
        if let Some(key) = call.key {
            request = request.header("idempotency-key", key);
        }
        if call.form.is_some() {
            request = request.header(CONTENT_TYPE, "application/x-www-form-urlencoded");
        }
        request.body(Full::from(call.form.clone().unwrap_or_default()))
    }
}

/// What is at the bottom of an error, which is what tells something.
fn root(error: &(dyn std::error::Error + 'static)) -> String {
    let mut bottom = error;
    while let Some(source) = bottom.source() {
        bottom = source;
    }
    bottom.to_string()
}
