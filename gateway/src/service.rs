//! The services behind the gateway and their backends, as all workers see them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::balance::Balancer;
use crate::breaker::{Breaker, Permit, Rules};
use crate::config::{BackendUrl, Backends, Config};
use crate::latency::Latency;
use crate::metrics::{BackendMetrics, Metrics, ServiceMetrics};
use crate::reason::Reason;
use crate::refusal::Refusal;
use crate::upstream::{Channel, Pool};

/// A backend that just failed is passed over for this long while another is fit.
const PASS_OVER: Duration = Duration::from_secs(5);

/// One service.
pub(crate) struct Service {
    pub(crate) name: &'static str,
    pub(crate) enabled: bool,
    /// Backends of its HTTP API.
    pub(crate) http: Group,
    /// Backends of its gRPC API.
    pub(crate) grpc: Group,
    pub(crate) metrics: Arc<ServiceMetrics>,
}

impl Service {
    /// The service `name` as `config` describes it; `workers` is how many pools each backend needs.
    pub(crate) fn new(
        name: &'static str,
        settings: &crate::config::Service,
        config: &Config,
        workers: usize,
        metrics: &Metrics,
    ) -> Arc<Self> {
        let group = |urls: &Backends| Group::new(name, urls, config, workers, metrics);
        Arc::new(Self {
            name,
            enabled: settings.enabled,
            http: group(&settings.urls),
            grpc: group(&settings.grpc_urls),
            metrics: Arc::new(metrics.service(name)),
        })
    }

    /// All backends.
    pub(crate) fn backends(&self) -> impl Iterator<Item = &Arc<Backend>> {
        self.http.backends.iter().chain(&self.grpc.backends)
    }
}

/// Backends that can stand in for each other.
pub(crate) struct Group {
    service: &'static str,
    backends: Vec<Arc<Backend>>,
    balancer: Balancer,
    trial_after: Duration,
}

/// Backends already tried for a call, one bit each; lists longer than 64 are tried no further than that.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Tried(u64);

impl Group {
    fn new(service: &'static str, urls: &Backends, config: &Config, workers: usize, metrics: &Metrics) -> Self {
        let breaker = &config.circuit_breaker;
        let rules = breaker.enabled.then(|| Rules {
            trials: breaker.max_requests.get(),
            window: breaker.interval.get(),
            open_for: breaker.timeout.get(),
        });
        let backends: Vec<_> =
            urls.0.iter().map(|url| Arc::new(Backend::new(service, url.clone(), rules, workers, metrics))).collect();
        let balancer = Balancer::new(&config.load_balancer, backends.len());
        Self { service, backends, balancer, trial_after: breaker.timeout.get() }
    }

    /// All backends.
    pub(crate) fn backends(&self) -> &[Arc<Backend>] {
        &self.backends
    }

    /// The next backend that is not in `tried`, with its breaker's permission.
    ///
    /// Backends that failed a moment ago are passed over first and asked only when there is no other: they may have
    /// recovered, and a refusal would be certain.
    pub(crate) fn pick(&self, tried: &mut Tried) -> Result<(Arc<Backend>, Option<Permit>), Refusal> {
        let count = self.backends.len().min(64);
        let first = self.balancer.first(&self.backends);
        let order = || (first..count).chain(0..first.min(count));
        let mut refused = false;
        for fit_only in [true, false] {
            for place in order() {
                let backend = &self.backends[place];
                if tried.0 & (1 << place) != 0 || fit_only != backend.health.is_fit() {
                    continue;
                }
                let permit = match &backend.breaker {
                    None => None,
                    Some(breaker) => match breaker.permit() {
                        None => {
                            refused = true;
                            continue;
                        }
                        some => some,
                    },
                };
                tried.0 |= 1 << place;
                return Ok((Arc::clone(backend), permit));
            }
        }
        Err(if refused {
            Refusal::new(Reason::BreakerOpen, format!("the circuit breakers of {} are open", self.service))
                .retry_after(self.trial_after)
        } else {
            Refusal::new(Reason::NoHealthyBackend, format!("{} has no backend for this call", self.service))
                .retry_after(Duration::from_secs(1))
        })
    }
}

/// One backend, with its connections.
pub(crate) struct Backend {
    url: BackendUrl,
    label: String,
    /// Unused HTTP/1.1 connections, one pool per worker: a connection stays on the core that opened it.
    pub(crate) pools: Box<[Pool]>,
    /// HTTP/2 connections for gRPC, one per worker.
    pub(crate) channels: Box<[Channel]>,
    pub(crate) metrics: BackendMetrics,
    pub(crate) breaker: Option<Arc<Breaker>>,
    pub(crate) health: Health,
    pub(crate) latency: Latency,
    in_flight: AtomicUsize,
}

impl Backend {
    fn new(service: &str, url: BackendUrl, rules: Option<Rules>, workers: usize, metrics: &Metrics) -> Self {
        let label = url.to_string();
        let metrics = metrics.backend(service, &label);
        Self {
            pools: (0..workers).map(|_| Pool::default()).collect(),
            channels: (0..workers).map(|_| Channel::default()).collect(),
            breaker: rules.map(|rules| Breaker::new(rules, &label, metrics.breaker.clone())),
            health: Health::new(),
            latency: Latency::new(),
            in_flight: AtomicUsize::new(0),
            metrics,
            label,
            url,
        }
    }

    /// `http://host:port`.
    pub(crate) fn label(&self) -> &str {
        &self.label
    }

    /// Where it is.
    pub(crate) fn address(&self) -> (&str, u16) {
        (&self.url.host, self.url.port)
    }

    /// Its share under `weighted_round_robin`.
    pub(crate) fn weight(&self) -> i64 {
        i64::from(self.url.weight.get())
    }

    /// Calls that it has not finished.
    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight.load(Relaxed)
    }

    /// What one more call would cost here.
    pub(crate) fn load(&self) -> f64 {
        self.latency.load(self.in_flight())
    }

    /// Counts a call until the guard is dropped, which is when the answer's body has ended.
    pub(crate) fn begin(self: &Arc<Self>) -> InFlight {
        self.in_flight.fetch_add(1, Relaxed);
        InFlight(Arc::clone(self))
    }

    /// It answered.
    pub(crate) fn answered(&self) {
        if self.health.seen(Seen::Up, None) != Seen::Up {
            self.metrics.health.set(1);
            tracing::info!(backend = self.label, "backend is up");
        }
    }

    /// It could not be reached, or broke off.
    pub(crate) fn failed(&self, reason: Reason, detail: &str) {
        if self.health.seen(Seen::Down, Some(detail)) != Seen::Down {
            self.metrics.health.set(0);
            tracing::warn!(backend = self.label, reason = reason.word(), error = detail, "backend is down");
        }
    }
}

/// A call to a backend that is not over.
pub(crate) struct InFlight(Arc<Backend>);

impl InFlight {
    /// The backend broke off.
    pub(crate) fn failed(&self, reason: Reason, detail: &str) {
        self.0.failed(reason, detail);
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Relaxed);
    }
}

/// How a backend was last seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Seen {
    /// Not tried yet.
    Never = 0,
    /// It answered.
    Up = 1,
    /// It could not be reached, or broke off.
    Down = 2,
}

impl Seen {
    /// The state as health pages name it.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Never => "unknown",
            Self::Up => "up",
            Self::Down => "down",
        }
    }

    const fn from_u8(value: u8) -> Self {
        match value {
            0 => Self::Never,
            1 => Self::Up,
            _ => Self::Down,
        }
    }
}

/// What live traffic tells about a backend.
pub(crate) struct Health {
    begun: Instant,
    seen: AtomicU8,
    /// Milliseconds from `begun`.
    at: AtomicU64,
    error: Mutex<Option<String>>,
}

impl Health {
    fn new() -> Self {
        Self { begun: Instant::now(), seen: AtomicU8::new(0), at: AtomicU64::new(0), error: Mutex::new(None) }
    }

    /// Notes what was seen and returns what was seen before.
    fn seen(&self, seen: Seen, error: Option<&str>) -> Seen {
        self.at.store(u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX), Relaxed);
        if let Some(error) = error {
            *self.error.lock() = Some(error.to_owned());
        }
        Seen::from_u8(self.seen.swap(seen as u8, Relaxed))
    }

    /// How the backend was last seen.
    pub(crate) fn last(&self) -> Seen {
        Seen::from_u8(self.seen.load(Relaxed))
    }

    /// How long ago that was; none when it was never tried.
    pub(crate) fn age(&self) -> Option<Duration> {
        let at = Duration::from_millis(self.at.load(Relaxed));
        (self.last() != Seen::Never).then(|| self.begun.elapsed().saturating_sub(at))
    }

    /// The latest failure, also when it is over.
    pub(crate) fn error(&self) -> Option<String> {
        self.error.lock().clone()
    }

    /// Whether to prefer this backend over one that failed a moment ago.
    fn is_fit(&self) -> bool {
        self.last() != Seen::Down || self.age().is_none_or(|age| age >= PASS_OVER)
    }
}
