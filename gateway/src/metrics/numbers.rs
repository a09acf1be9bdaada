//! What is counted for the life of the process.

use std::sync::Arc;
use std::time::Instant;

use super::recent::Recent;
use super::{Metrics, OWN, ServiceMetrics};

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
