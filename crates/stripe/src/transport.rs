//! One call: its headers, its time, its repetitions, and what the metrics say of it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue, USER_AGENT};
use http::{Method, Request};
use prometheus::IntCounterVec;
use serde_json::Value;
use shop_balance::{Breaker, Outcome, SlowStart};
use shop_telemetry::{Histograms, KeyValue, Metrics, Span, SpanKind};
use tokio::time::{Instant, sleep, timeout_at};

use crate::error::Error;
use crate::retry::{self, ATTEMPTS, Attempt};
use crate::settings::StripeSettings;
use crate::wire::{Broken, Wire};

/// The version of the API that requests and answers are in, whatever the account's own is.
pub const VERSION: &str = "2026-08-26.dahlia";

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
    wire: Arc<dyn Wire>,
    base: String,
    authorization: HeaderValue,
    timeout: Duration,
    breaker: Option<Arc<Breaker>>,
    requests: IntCounterVec,
    seconds: Histograms,
}

impl Transport {
    pub(crate) fn over(wire: Arc<dyn Wire>, settings: &StripeSettings, metrics: &Metrics) -> anyhow::Result<Self> {
        let mut authorization = HeaderValue::from_str(&format!("Bearer {}", settings.secret_key.expose()))?;
        authorization.set_sensitive(true);
        let open =
            metrics.gauge("stripe_circuit_breaker_open", "Whether Stripe is left alone since it does not answer.");
        let rules = settings.circuit_breaker.rules();
        let breaker = rules.map(|rules| {
            let show = move |state| open.set(i64::from(state != shop_balance::breaker::State::Closed));
            Breaker::new(rules, "stripe", Arc::new(SlowStart::new(Duration::ZERO)), show)
        });
        Ok(Self {
            wire,
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
        match self.wire.exchange(request).await {
            Ok(answer) => Attempt::answered(answer.status(), answer.headers(), answer.body()),
            Err(Broken::Lost(reason)) => Attempt::lost(reason),
            Err(long @ Broken::Long) => Attempt::unreadable(long.to_string()),
        }
    }

    fn request(&self, call: &Call<'_>) -> http::Result<Request<Bytes>> {
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
        request.body(Bytes::from(call.form.clone().unwrap_or_default()))
    }
}
