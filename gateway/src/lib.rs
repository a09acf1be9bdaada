//! The gateway: one port for HTTP and gRPC in front of all services, and one for those who run it.

// The rooms, in the order in which a reader meets them. Each may know those below it, which `tests/layers.rs` keeps so. What
// knows nothing of a gateway is a crate: `shop-http1`, `shop-limit`, `shop-balance`, `shop-discovery`, `shop-browser`.

// The way of a request: who answers it, and with what.
mod proxy;

// What operators ask and change, and what the gateway answers by itself.
mod admin;

// The reference of the API, put together from those of the services.
mod docs;

// What is logged, counted and traced of one request.
mod record;

// Listeners, threads and clients' connections, for any handler.
mod server;

// Generations of what settings decide, how one replaces the other; what is under way.
mod state;

// Routes, services and their backends in one generation, and checking them.
mod routing;

// One call to one endpoint over its connections.
mod upstream;

// The numbers, and the latest refusals.
mod metrics;

// What was asked for: by files, by what was found, by operators.
pub mod settings;

// What a proxy reads, writes and refuses in a message.
mod message;

pub use server::doors::Doors;
pub use settings::Config;
pub use state::reload::{Applied, Handle, follow};

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use shop_config::{Problems, Settings as _};
use shop_discovery::Discovery;
use shop_runtime::{CancellationToken, Shutdown};
use shop_telemetry::Metrics;

use crate::admin::events::{self, history};
use crate::proxy::Proxy;

use crate::routing::trust::Trust;
use crate::routing::{check, trust};
use crate::server::crowd::Crowd;
use crate::server::doors::Opened;
use crate::server::tls::Tls;
use crate::server::worker::{self, Stop};
use crate::settings::desired::Desired;
use crate::settings::overrides::Overrides;
use crate::settings::{SHORT_TOKEN, Strategy};
use crate::state::State;
use crate::state::state_file::StateFile;

/// How often the rate limiter forgets clients that have not come back, and looks at its files.
const HOUSEKEEPING: Duration = Duration::from_secs(10);

/// A gateway that has its port and waits to be run.
pub struct Gateway {
    state: Arc<State>,
    proxy: Arc<Proxy>,
    doors: Opened,
    discovery: Discovery,
}

impl Gateway {
    /// Takes the ports; backends need not be there yet.
    pub async fn build(config: Config, metrics: Metrics, shutdown: &Shutdown) -> anyhow::Result<Self> {
        let doors = Doors::open(&config, "").await?;
        Box::pin(Self::build_behind(doors, config, metrics, shutdown)).await
    }

    /// The same behind ports that were taken for the same settings before.
    pub async fn build_behind(
        doors: Doors,
        config: Config,
        metrics: Metrics,
        _shutdown: &Shutdown,
    ) -> anyhow::Result<Self> {
        let workers = doors.workers();
        warn_about(&config);
        let identity = state::open_identity(&config.identity)?;
        let (desired, state) = kept(config)?;
        let state = State::new(desired, identity, state, workers, metrics);
        let doors = doors.furnish(&state.settings.current().config, &state.numbers.metrics)?;
        let discovery = Discovery::default();
        discovery.begin(&state).await;
        let proxy = Proxy::new(Arc::clone(&state));
        Ok(Self { state, proxy, doors, discovery })
    }

    /// Where it listens, for HTTP and gRPC alike.
    pub fn http_addr(&self) -> SocketAddr {
        self.doors.cleartext
    }

    /// Where it listens for operators: metrics, detailed health, the admin API.
    pub fn admin_addr(&self) -> SocketAddr {
        self.doors.operators
    }

    /// Where it listens for TLS, if it does.
    pub fn https_addr(&self) -> Option<SocketAddr> {
        self.doors.encrypted
    }

    /// Where it listens besides, by the names in the settings.
    pub fn listener_addrs(&self) -> &[(String, SocketAddr)] {
        &self.doors.named
    }

    /// What changes its settings while it runs.
    pub fn handle(&self) -> Handle {
        Handle::new(Arc::clone(&self.state))
    }

    /// Serves until the soft stop; then not ready, after `drain_delay` nothing new, and an end when the last request is
    /// over or at the hard stop.
    pub async fn run(self, shutdown: Shutdown) -> anyhow::Result<()> {
        let Self { state, proxy, doors: Opened { workers: listeners, tls, .. }, discovery } = self;
        let stop = Stop::default();
        // However this future ends, the threads end too.
        let _guard = (stop.finish.clone().drop_guard(), stop.end.clone().drop_guard());
        let mut workers = Vec::with_capacity(listeners.len());
        let crowd = Crowd::new(listeners.len());
        for (index, listener) in listeners.into_iter().enumerate() {
            workers.push(worker::start(&proxy, &state, &crowd, index, listener, stop.clone())?);
        }
        let all = futures_util::future::try_join_all(workers);
        tokio::pin!(all);
        // Who watches wants to see the end, too.
        let mut events = std::pin::pin!(events::run(&proxy.admin.events, &state));
        tokio::select! {
            () = &mut events => {}
            died = &mut all => return died.map(drop).context("a worker thread died"),
            () = housekeep(&state) => {}
            () = history::keep(&proxy.admin.events.history, &state) => {}
            // They end with the signal: who stops as a whole must not report its own parts.
            () = check::run(state.settings.changes(), || Arc::clone(&state.settings.current().table)) => {}
            () = watch(tls) => {}
            () = trust::watch(state.settings.changes(), || trusted(&state)) => {}
            () = keep_keys(&state) => {}
            () = shop_limit::run(state.settings.changes(), || state.settings.current().limiter.clone()) => {}
            () = discovery.run(&state, state.settings.changes()) => {}
            () = shutdown.soft.cancelled() => {}
        }
        tokio::select! {
            () = drain(&state, &proxy, &stop) => {}
            () = events => {}
            () = shutdown.hard.cancelled() => {
                tracing::warn!(requests = state.lifecycle.in_flight(), "the grace period is over with requests still running");
            }
        }
        stop.finish.cancel();
        stop.end.cancel();
        all.await.map(drop).context("a worker thread died")
    }
}

/// What `config` wants, with the changes of the admin API that were kept on top.
fn kept(config: Config) -> anyhow::Result<(Desired, Option<StateFile>)> {
    let Some(path) = &config.admin.state_file else { return Ok((Desired::new(config, Overrides::default()), None)) };
    let (file, overrides) = StateFile::open(path)?;
    let desired = Desired::new(config, overrides);
    let mut problems = Problems::default();
    desired.merged().config.check(&mut problems);
    anyhow::ensure!(
        problems.is_empty(),
        "the changes in the state file (admin.state_file) do not fit the settings any more: {problems}"
    );
    Ok((desired, Some(file)))
}

/// Lets everything that was accepted come to its end.
async fn drain(state: &State, proxy: &Proxy, stop: &Stop) {
    state.lifecycle.drain();
    tokio::time::sleep(state.settings.current().config.drain_delay.get()).await;
    state.lifecycle.close();
    proxy.admin.events.close();
    stop.finish.cancel();
    state.lifecycle.idle().await;
}

/// Looks after the certificates, if there are any.
async fn watch(all: Vec<Arc<Tls>>) {
    futures_util::future::join_all(all.into_iter().map(Tls::watch)).await;
    std::future::pending::<()>().await;
}

/// Whose certificates are good, and how often that is looked up.
fn trusted(state: &State) -> (Vec<Arc<Trust>>, Duration) {
    let generation = state.settings.current();
    (generation.table.trusts().cloned().collect(), generation.config.tls.reload_interval.get())
}

/// Keeps the keys of tokens as their issuers have them, whoever those are.
async fn keep_keys(state: &State) {
    let mut changes = state.settings.changes();
    loop {
        let (settings, identity) = {
            let generation = state.settings.current();
            (generation.config.identity.clone(), generation.identity.clone())
        };
        let keep = async {
            identity.run(CancellationToken::new()).await;
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = keep => {}
            _ = changes.wait_for(|_| state.settings.current().config.identity != settings) => {}
        }
    }
}

async fn housekeep(state: &State) {
    let mut ticks = tokio::time::interval(HOUSEKEEPING);
    loop {
        ticks.tick().await;
        if let Some(limiter) = &state.settings.current().limiter {
            limiter.refresh();
        }
    }
}

/// Says which settings have no effect: silence would be taken for consent.
fn warn_about(config: &Config) {
    let is_idle = config.services.iter().any(|(name, service)| {
        let balancer = config.balancer_of(name);
        let minds = matches!(balancer.strategy, Strategy::WeightedRoundRobin | Strategy::ConsistentHash);
        let mut urls = service.urls.0.iter().chain(&service.grpc_urls.0);
        !(balancer.enabled && minds) && urls.any(|url| url.weight.get() > 1)
    });
    if is_idle {
        tracing::warn!(
            "weights of backends have no effect unless load_balancer.strategy (LOAD_BALANCER_STRATEGY) is \
             weighted_round_robin"
        );
    }
    if config.admin.has_short_token() {
        tracing::warn!(
            "admin.token (ADMIN_TOKEN) is short enough to be guessed; use at least {SHORT_TOKEN} characters"
        );
    }
}
