//! Who gets copies of a route's requests.

use std::sync::Arc;

use crate::metrics::MirrorMetrics;
use crate::routing::{Cluster, Service};
use crate::settings::timeouts::Times;

/// A service that gets copies.
pub(crate) struct Mirror {
    pub(crate) service: Arc<Service>,
    pub(crate) cluster: Arc<Cluster>,
    /// How long the gateway waits for it.
    pub(crate) times: Times,
    /// Of how many requests, as parts of [`Percent::ALL`](crate::settings::Percent::ALL).
    pub(crate) share: u32,
    /// Bytes of a body that are copied.
    pub(crate) body_limit: usize,
    pub(crate) counts: MirrorMetrics,
}
