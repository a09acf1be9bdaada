//! What all workers share.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::Instant;

use arc_swap::ArcSwap;
use tokio::sync::Notify;

use crate::config::Config;
use crate::cors::Cors;
use crate::csrf::Csrf;
use crate::limit::Limiter;
use crate::metrics::{Metrics, OWN, ServiceMetrics};
use crate::routes::Table;
use crate::security::Security;

/// What all workers share.
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) table: ArcSwap<Table>,
    pub(crate) metrics: Metrics,
    /// Counts what belongs to no service.
    pub(crate) own: Arc<ServiceMetrics>,
    pub(crate) limiter: Option<Limiter>,
    pub(crate) security: Option<Security>,
    pub(crate) cors: Option<Cors>,
    pub(crate) csrf: Option<Csrf>,
    pub(crate) begun: Instant,
    pub(crate) workers: usize,
    /// The signal to stop came: not ready any more.
    draining: AtomicBool,
    /// The delay after it is over: nothing new is begun.
    closed: AtomicBool,
    in_flight: AtomicUsize,
    idle: Notify,
}

impl Shared {
    /// The state at the start.
    pub(crate) fn new(config: Config, workers: usize, metrics: shop_telemetry::Metrics) -> Arc<Self> {
        let metrics = Metrics::new(metrics);
        Arc::new(Self {
            table: ArcSwap::from_pointee(Table::new(&config, workers, &metrics)),
            own: Arc::new(metrics.service(OWN)),
            limiter: Limiter::new(&config.rate_limit),
            security: Security::new(&config.security_headers),
            cors: Cors::new(&config.cors),
            csrf: Csrf::new(&config.csrf),
            begun: Instant::now(),
            workers,
            draining: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            in_flight: AtomicUsize::new(0),
            idle: Notify::new(),
            metrics,
            config,
        })
    }

    /// A request began.
    pub(crate) fn enter(&self) {
        self.in_flight.fetch_add(1, SeqCst);
    }

    /// A request is over.
    pub(crate) fn leave(&self) {
        if self.in_flight.fetch_sub(1, SeqCst) == 1 {
            self.idle.notify_waiters();
        }
    }

    /// Requests that are not over.
    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight.load(SeqCst)
    }

    /// Returns when no request is being served.
    pub(crate) async fn idle(&self) {
        loop {
            let idle = self.idle.notified();
            if self.in_flight() == 0 {
                return;
            }
            idle.await;
        }
    }

    /// From now on not ready.
    pub(crate) fn drain(&self) {
        self.draining.store(true, SeqCst);
    }

    /// Whether the signal to stop came.
    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(SeqCst)
    }

    /// From now on nothing new for backends.
    pub(crate) fn close(&self) {
        self.closed.store(true, SeqCst);
    }

    /// Whether nothing new is begun.
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(SeqCst)
    }
}
