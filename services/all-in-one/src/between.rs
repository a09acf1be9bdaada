//! What may stand between the parts of a suite: how `shop demo` breaks things that know nothing of it.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use shop_events::Bus;

use crate::Service;

/// Stands between the parts of a suite.
pub trait Between: Send + Sync {
    /// The bus that `service` gets instead of `bus`.
    fn bus(&self, service: Service, bus: Arc<dyn Bus>) -> Arc<dyn Bus>;

    /// Where the others call product, which listens at `at`; asked for HTTP, then for gRPC.
    fn product(&self, at: SocketAddr) -> io::Result<SocketAddr>;
}

/// Nothing: every part meets the others themselves.
pub(crate) struct Nothing;

impl Between for Nothing {
    fn bus(&self, _: Service, bus: Arc<dyn Bus>) -> Arc<dyn Bus> {
        bus
    }

    fn product(&self, at: SocketAddr) -> io::Result<SocketAddr> {
        Ok(at)
    }
}
