//! The gateway's numbers. Handles are resolved once per label set, so that counting is an atomic add.

pub(crate) mod recent;
mod route_numbers;
mod totals;

pub(crate) use route_numbers::RouteNumbers;
pub(crate) use totals::Totals;

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use http::{Method, StatusCode};
use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec};
use shop_http::method::{self, NAMES};
use shop_limit::{Counting, Observer};
use shop_telemetry::{Histogram, Histograms, TraceParent};

use self::recent::Recent;
use crate::message::OWN;
use crate::message::reason::Reason;

const STATUSES: usize = 500;

/// The service that servers are counted with which are asked whether requests may go on; no service is called so.
const FORWARD_AUTH: &str = "forward_auth";

/// What is counted for the life of the process.
pub(crate) struct Numbers {
    pub(crate) metrics: Metrics,
    /// Counts what belongs to no service.
    pub(crate) own: Arc<ServiceMetrics>,
    /// When counting began.
    pub(crate) begun: Instant,
    /// The latest refusals.
    pub(crate) recent: Recent,
}

impl Numbers {
    /// Counts from now on.
    pub(crate) fn new(metrics: shop_telemetry::Metrics) -> Self {
        let metrics = Metrics::new(metrics);
        let begun = Instant::now();
        Self { own: Arc::new(metrics.service(OWN)), begun, recent: Recent::new(begun), metrics }
    }
}

/// All families of metrics.
pub(crate) struct Metrics {
    pub(crate) all: shop_telemetry::Metrics,
    requests: IntCounterVec,
    durations: Histograms,
    active: IntGaugeVec,
    refusals: IntCounterVec,
    retries: IntCounterVec,
    unaffordable: IntCounterVec,
    backend_health: IntGaugeVec,
    breaker_state: IntGaugeVec,
    opened: IntCounterVec,
    reused: IntCounterVec,
    /// The generation of settings in force.
    pub(crate) revision: IntGauge,
    /// By how it ended: applied, unchanged or refused.
    pub(crate) reloads: IntCounterVec,
    /// When settings were last read without a problem, in seconds since 1970.
    pub(crate) reloaded: IntGauge,
    limiter_mode: IntGaugeVec,
    limit_fallbacks: IntCounter,
    discovery_failures: IntCounterVec,
    discovered: IntGaugeVec,
    /// Client connections open now.
    pub(crate) connections: IntGauge,
    /// Client connections closed by the gateway because of what came, or did not come, over them.
    pub(crate) cut: IntCounterVec,
    /// Client connections closed or not taken because there were too many.
    pub(crate) shed: IntCounterVec,
    /// Streams over HTTP/2 of which the client took nothing for too long.
    pub(crate) streams_reset: IntCounter,
    mirrored: IntCounterVec,
}

/// The numbers of a limiter.
struct LimiterMetrics {
    local: IntGauge,
    redis: IntGauge,
    fallbacks: IntCounter,
}

impl Observer for LimiterMetrics {
    fn counting(&self, who: Counting) {
        self.local.set(i64::from(who == Counting::Local));
        self.redis.set(i64::from(who == Counting::Redis));
    }

    fn fell_back(&self) {
        self.fallbacks.inc();
    }
}

impl Metrics {
    /// The families, registered in `all`.
    pub(crate) fn new(all: shop_telemetry::Metrics) -> Self {
        let counters = |name, help, labels: &[&str]| all.counters(name, help, labels);
        let gauges = |name, help, labels: &[&str]| all.gauges(name, help, labels);
        Self {
            requests: counters(
                "gateway_requests_total",
                "Requests answered, 499 when the client left first",
                &["service", "method", "status"],
            ),
            durations: all.histograms(
                "gateway_request_duration_seconds",
                "From the head of the request to the end of the answer",
                &["service", "method"],
            ),
            active: gauges("gateway_active_requests", "Requests being served", &["service"]),
            refusals: counters(
                "gateway_refusals_total",
                "Requests that the gateway answered itself or broke off",
                &["service", "reason"],
            ),
            retries: counters("gateway_retries_total", "Requests sent to a backend once more", &["service"]),
            unaffordable: counters(
                "gateway_retry_budget_exhausted_total",
                "Retries left undone because the service had its share of them",
                &["service"],
            ),
            backend_health: gauges(
                "gateway_backend_health",
                "0 when checks or live traffic last found the backend failing, else 1",
                &["service", "backend"],
            ),
            breaker_state: gauges(
                "gateway_circuit_breaker_state",
                "0 closed, 1 half open, 2 open",
                &["service", "backend"],
            ),
            opened: counters(
                "gateway_upstream_connections_total",
                "Connections opened to a backend",
                &["service", "backend"],
            ),
            reused: counters(
                "gateway_upstream_reused_total",
                "Requests sent over a connection that was open already",
                &["service", "backend"],
            ),
            revision: all.gauge("gateway_config_revision", "Generation of settings in force, from 1 at the start"),
            reloads: counters("gateway_config_reloads_total", "Times settings were read again", &["result"]),
            reloaded: all.gauge(
                "gateway_config_last_success_timestamp_seconds",
                "When settings were last read without a problem",
            ),
            limiter_mode: gauges("gateway_rate_limiter_mode", "1 for who counts the calls of clients", &["mode"]),
            limit_fallbacks: all.counter(
                "gateway_rate_limit_fallback_total",
                "Calls counted by this gateway alone because Redis was away",
            ),
            discovery_failures: counters(
                "gateway_discovery_failures_total",
                "Times that a name or a file with backends could not be looked up",
                &["service", "source"],
            ),
            discovered: gauges(
                "gateway_discovery_last_success_timestamp_seconds",
                "When it was last looked up with success, in Unix time",
                &["service", "source"],
            ),
            connections: all.gauge("gateway_client_connections", "Client connections open"),
            cut: counters("gateway_connections_cut_total", "Client connections the gateway closed", &["reason"]),
            shed: counters(
                "gateway_connections_shed_total",
                "Client connections closed or not taken because there were too many",
                &["reason"],
            ),
            streams_reset: all.counter(
                "gateway_streams_reset_total",
                "HTTP/2 streams the gateway reset because their clients took nothing of the answer",
            ),
            mirrored: counters(
                "gateway_mirrored_total",
                "Copies of requests for mirrors, by what became of them",
                &["service", "result"],
            ),
            all,
        }
    }

    /// The handles of a limiter.
    pub(crate) fn limiter(&self) -> shop_limit::SharedObserver {
        Arc::new(LimiterMetrics {
            local: self.limiter_mode.with_label_values(&["local"]),
            redis: self.limiter_mode.with_label_values(&["redis"]),
            fallbacks: self.limit_fallbacks.clone(),
        })
    }

    /// The handles of one service.
    pub(crate) fn service(&self, name: &str) -> ServiceMetrics {
        ServiceMetrics {
            name: name.to_owned(),
            active: self.active.with_label_values(&[name]),
            retries: self.retries.with_label_values(&[name]),
            unaffordable: self.unaffordable.with_label_values(&[name]),
            durations: NAMES.map(|method| self.durations.with_label_values(&[name, method])),
            refusals: Reason::ALL.map(|reason| self.refusals.with_label_values(&[name, reason.word()])),
            counts: NAMES.map(|_| OnceLock::new()),
            requests: self.requests.clone(),
        }
    }

    /// The handles of one backend.
    pub(crate) fn backend(&self, service: &str, backend: &str) -> BackendMetrics {
        let labels = [service, backend];
        let metrics = BackendMetrics {
            health: self.backend_health.with_label_values(&labels),
            breaker: self.breaker_state.with_label_values(&labels),
            opened: self.opened.with_label_values(&labels),
            reused: self.reused.with_label_values(&labels),
        };
        metrics.health.set(1);
        metrics
    }

    /// The connections opened to a server that is asked whether requests may go on, and the questions over those that were open.
    pub(crate) fn authority(&self, server: &str) -> (IntCounter, IntCounter) {
        let labels = [FORWARD_AUTH, server];
        (self.opened.with_label_values(&labels), self.reused.with_label_values(&labels))
    }

    /// The handles of a service that gets copies of requests.
    pub(crate) fn mirror(&self, service: &str) -> MirrorMetrics {
        let [sent, failed, dropped, too_large] = ["sent", "failed", "dropped", "too_large"]
            .map(|result| self.mirrored.with_label_values(&[service, result]));
        MirrorMetrics { sent, failed, dropped, too_large }
    }

    /// A source of backends was looked up at `now`, in Unix time.
    pub(crate) fn source_answered(&self, service: &str, source: &str, now: i64) {
        self.discovered.with_label_values(&[service, source]).set(now);
        self.discovery_failures.with_label_values(&[service, source]);
    }

    /// A source of backends could not be looked up.
    pub(crate) fn source_failed(&self, service: &str, source: &str) {
        self.discovery_failures.with_label_values(&[service, source]).inc();
    }

    /// No longer shows the numbers of a source that nobody asks.
    pub(crate) fn forget_source(&self, service: &str, source: &str) {
        // An error says that it was not shown.
        let _ = self.discovered.remove_label_values(&[service, source]);
        let _ = self.discovery_failures.remove_label_values(&[service, source]);
    }

    /// No longer shows the numbers of a server that nobody asks any more.
    pub(crate) fn forget_authority(&self, server: &str) {
        for counters in [&self.opened, &self.reused] {
            // An error says that it was not shown.
            let _ = counters.remove_label_values(&[FORWARD_AUTH, server]);
        }
    }

    /// No longer shows the numbers of a backend that is gone.
    pub(crate) fn forget_backend(&self, service: &str, backend: &str) {
        let labels = [service, backend];
        for gauges in [&self.backend_health, &self.breaker_state] {
            // An error says that it was not shown.
            let _ = gauges.remove_label_values(&labels);
        }
        for counters in [&self.opened, &self.reused] {
            let _ = counters.remove_label_values(&labels);
        }
    }
}

/// The handles of a service that gets copies of requests.
pub(crate) struct MirrorMetrics {
    /// Answered.
    pub(crate) sent: IntCounter,
    /// There was no answer.
    pub(crate) failed: IntCounter,
    /// There were too many under way.
    pub(crate) dropped: IntCounter,
    /// The body was over the limit, or did not come whole.
    pub(crate) too_large: IntCounter,
}

/// The handles of one service.
pub(crate) struct ServiceMetrics {
    pub(crate) name: String,
    pub(crate) active: IntGauge,
    pub(crate) retries: IntCounter,
    pub(crate) unaffordable: IntCounter,
    durations: [Histogram; NAMES.len()],
    refusals: [IntCounter; Reason::ALL.len()],
    /// By method, and then by status, made when first needed: most services see few of them.
    counts: [OnceLock<Box<[OnceLock<IntCounter>]>>; NAMES.len()],
    requests: IntCounterVec,
}

impl ServiceMetrics {
    /// Counts one finished request of `trace`; `took` is none when how long it took says nothing about speed.
    pub(crate) fn finished(
        &self,
        method: &Method,
        status: StatusCode,
        took: Option<Duration>,
        reason: Option<Reason>,
        trace: TraceParent,
    ) {
        let method = method::index(method);
        if let Some(took) = took {
            self.durations[method].observe_in(took.as_secs_f64(), trace);
        }
        let status = usize::from(status.as_u16()).saturating_sub(100).min(STATUSES - 1);
        let of_method = self.counts[method].get_or_init(|| (0..STATUSES).map(|_| OnceLock::new()).collect());
        of_method[status]
            .get_or_init(|| {
                let status = (status + 100).to_string();
                self.requests.with_label_values(&[&self.name, NAMES[method], &status])
            })
            .inc();
        if let Some(reason) = reason {
            self.refusals[reason.index()].inc();
        }
    }
}

/// The handles of one backend.
pub(crate) struct BackendMetrics {
    pub(crate) health: IntGauge,
    pub(crate) breaker: IntGauge,
    pub(crate) opened: IntCounter,
    pub(crate) reused: IntCounter,
}
