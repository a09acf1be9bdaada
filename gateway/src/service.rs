//! The services behind the gateway and their backends, as all workers see them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use crate::balance::Balancer;
use crate::breaker::{Breaker, Permit, Rules};
use crate::chance;
use crate::check::{Protocol, Record, Trouble, Verdict};
use crate::config::{BackendUrl, Backends, Config, HealthCheck};
use crate::health::{Health, Seen};
use crate::latency::Latency;
use crate::metrics::{BackendMetrics, Metrics, ServiceMetrics};
use crate::ramp::Ramp;
use crate::reason::Reason;
use crate::refusal::Refusal;
use crate::retry::Budget;
use crate::rotation::{Places, Rotation};
use crate::upstream::{Channel, Pool};

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
        let group = |urls: &Backends, protocol| Group::new(name, urls, protocol, config, workers, metrics);
        Arc::new(Self {
            name,
            enabled: settings.enabled,
            http: group(&settings.urls, Protocol::Http),
            grpc: group(&settings.grpc_urls, Protocol::Grpc),
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
    rotation: Rotation,
    /// What retries may cost; none when there are no retries.
    pub(crate) budget: Option<Budget>,
    trial_after: Duration,
}

/// Backends already tried for a call, one bit each; lists longer than 64 are tried no further than that.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Tried(Places);

impl Group {
    fn new(
        service: &'static str,
        urls: &Backends,
        protocol: Protocol,
        config: &Config,
        workers: usize,
        metrics: &Metrics,
    ) -> Self {
        let backend =
            |url: &BackendUrl| Arc::new(Backend::new(service, url.clone(), protocol, config, workers, metrics));
        let backends: Vec<_> = urls.0.iter().map(backend).collect();
        let balancer = Balancer::new(&config.load_balancer, backends.len());
        let retries = config.retries.enabled && protocol == Protocol::Http;
        Self {
            service,
            backends,
            balancer,
            rotation: Rotation::new(),
            budget: retries.then(|| Budget::new(&config.retries)),
            trial_after: config.circuit_breaker.timeout.get(),
        }
    }

    /// All backends.
    pub(crate) fn backends(&self) -> &[Arc<Backend>] {
        &self.backends
    }

    /// The next backend that is not in `tried`, with its breaker's permission.
    ///
    /// Checks say who is in rotation. Of these, backends that failed a moment ago are passed over first and asked only when
    /// there is no other: they may have recovered, and a refusal would be certain. Last come those that checks threw out.
    pub(crate) fn pick(&self, tried: &mut Tried) -> Result<(Arc<Backend>, Option<Permit>), Refusal> {
        let (usable, spare) = self.left(*tried);
        let fit = self.fit(usable);
        // A call takes one turn, however many backends it needs.
        let mut repeat = tried.0 != 0;
        let mut refused = false;
        for mut left in [fit, usable & !fit, spare] {
            while left != 0 {
                let place = self.choose(left, repeat);
                repeat = true;
                left &= !(1 << place);
                let backend = &self.backends[place];
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

    /// Whether a backend in rotation has not been tried.
    pub(crate) fn has_other(&self, tried: Tried) -> bool {
        self.left(tried).0 != 0
    }

    /// Who is in rotation, and who in reserve, of those not tried.
    fn left(&self, tried: Tried) -> (Places, Places) {
        let count = u32::try_from(self.backends.len()).unwrap_or(u32::MAX);
        let all = Places::MAX.checked_shr(Places::BITS.saturating_sub(count)).unwrap_or(0);
        let (usable, spare) = self.rotation.get();
        (usable & all & !tried.0, spare & all & !tried.0)
    }

    /// Those of `places` that did not fail a moment ago.
    fn fit(&self, places: Places) -> Places {
        let backends = self.backends.iter().take(64).enumerate();
        backends
            .filter(|(place, backend)| places & (1 << place) != 0 && !backend.health.is_fit())
            .fold(places, |fit, (place, _)| fit & !(1 << place))
    }

    /// The balancer's choice among `places`; who recovered lately gives part of its share to the others.
    fn choose(&self, places: Places, repeat: bool) -> usize {
        let first = self.balancer.choose(&self.backends, places, repeat);
        let mut place = first;
        let mut others = places;
        while !self.backends[place].takes() {
            others &= !(1 << place);
            if others == 0 {
                // All of them recovered lately; nobody is left to spare them.
                return first;
            }
            place = self.balancer.choose(&self.backends, others, true);
        }
        place
    }

    /// Notes what a check of `backend` found.
    pub(crate) fn checked(&self, backend: &Backend, outcome: Result<(), Trouble>, settings: &HealthCheck) {
        if !backend.checked(outcome, settings) {
            return;
        }
        let panics = self.rotation.update(self.backends.iter().map(|backend| backend.checks.verdict()));
        // With one backend there is nobody to choose from anyway.
        match panics.filter(|_| self.backends.len() > 1) {
            Some(true) => tracing::warn!(
                service = self.service,
                "half or more of the backends of {} fail their health checks: failed checks are ignored",
                self.service
            ),
            Some(false) => tracing::info!(
                service = self.service,
                "most backends of {} pass their health checks again",
                self.service
            ),
            None => {}
        }
    }
}

/// One backend, with its connections.
pub(crate) struct Backend {
    url: BackendUrl,
    label: String,
    protocol: Protocol,
    /// Unused HTTP/1.1 connections, one pool per worker: a connection stays on the core that opened it.
    pub(crate) pools: Box<[Pool]>,
    /// HTTP/2 connections for gRPC, one per worker.
    pub(crate) channels: Box<[Channel]>,
    pub(crate) metrics: BackendMetrics,
    pub(crate) breaker: Option<Arc<Breaker>>,
    /// What live traffic tells.
    pub(crate) health: Health,
    /// What checks tell.
    pub(crate) checks: Record,
    ramp: Arc<Ramp>,
    pub(crate) latency: Latency,
    in_flight: AtomicUsize,
}

impl Backend {
    fn new(
        service: &str,
        url: BackendUrl,
        protocol: Protocol,
        config: &Config,
        workers: usize,
        metrics: &Metrics,
    ) -> Self {
        let label = url.to_string();
        let metrics = metrics.backend(service, &label);
        let ramp = Arc::new(Ramp::new(config.load_balancer.slow_start.get()));
        let breaker = &config.circuit_breaker;
        let rules = breaker.enabled.then(|| Rules {
            trials: breaker.max_requests.get(),
            window: breaker.interval.get(),
            open_for: breaker.timeout.get(),
        });
        Self {
            pools: (0..workers).map(|_| Pool::default()).collect(),
            channels: (0..workers).map(|_| Channel::default()).collect(),
            breaker: rules.map(|rules| Breaker::new(rules, &label, metrics.breaker.clone(), Arc::clone(&ramp))),
            health: Health::new(),
            checks: Record::default(),
            ramp,
            latency: Latency::new(),
            in_flight: AtomicUsize::new(0),
            metrics,
            label,
            protocol,
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

    /// What it speaks.
    pub(crate) fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// Whether it takes a call that is its turn: always, except now and then while it warms up.
    fn takes(&self) -> bool {
        let share = self.ramp.share();
        share >= 1.0 || chance::fraction() < share
    }

    /// It answered.
    pub(crate) fn answered(&self) {
        match self.health.seen(Seen::Up, None) {
            Seen::Up => return,
            // No news: it was never down.
            Seen::Never => {}
            Seen::Down => tracing::info!(backend = self.label, "backend is up"),
        }
        self.show();
    }

    /// It could not be reached, or broke off.
    pub(crate) fn failed(&self, reason: Reason, detail: &str) {
        if self.health.seen(Seen::Down, Some(detail)) != Seen::Down {
            self.show();
            tracing::warn!(backend = self.label, reason = reason.word(), error = detail, "backend is down");
        }
    }

    /// Notes what a check found; returns whether that changed the verdict.
    fn checked(&self, outcome: Result<(), Trouble>, settings: &HealthCheck) -> bool {
        if outcome.is_ok() {
            self.health.forgive();
        }
        let (before, after) = self.checks.note(outcome, settings);
        self.show();
        if before == after {
            return false;
        }
        let error = self.checks.report().error;
        match (before, after) {
            (Verdict::Unknown, Verdict::Healthy) => tracing::debug!(backend = self.label, "backend is healthy"),
            (_, Verdict::Healthy) => {
                if before != Verdict::Never {
                    self.ramp.begin();
                }
                tracing::info!(backend = self.label, "backend is healthy");
            }
            // Others may still be starting.
            (_, Verdict::Never) => tracing::info!(backend = self.label, error, "backend is not healthy yet"),
            _ => tracing::warn!(backend = self.label, error, "backend fails its health checks"),
        }
        true
    }

    /// How it looks, by checks and live traffic together: either can speak against it.
    pub(crate) fn state(&self) -> Seen {
        match (self.checks.verdict(), self.health.last()) {
            (verdict, _) if verdict.is_bad() => Seen::Down,
            (_, Seen::Down) => Seen::Down,
            (Verdict::Healthy, _) | (_, Seen::Up) => Seen::Up,
            _ => Seen::Never,
        }
    }

    fn show(&self) {
        self.metrics.health.set(i64::from(self.state() != Seen::Down));
    }
}

/// A call to a backend that is not over.
pub(crate) struct InFlight(Arc<Backend>);

impl InFlight {
    /// The backend.
    pub(crate) fn backend(&self) -> &Arc<Backend> {
        &self.0
    }

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
