//! A pooled connection in use, and its way back.

use std::sync::Arc;

use tokio::net::TcpStream;

use super::Connections;

/// Where a connection goes when it can be used again.
pub(super) struct Lease {
    pub(super) connections: Arc<Connections>,
    pub(super) worker: usize,
    pub(super) size: usize,
}

impl Lease {
    /// The answer is whole: the connection may serve another call.
    pub(super) fn give_back(self, stream: TcpStream) {
        if self.connections.endpoint.is_retired() {
            return;
        }
        let pool = &self.connections.pools[self.worker];
        pool.give(stream, self.size);
        // It may have been retired, and the pool cleared, just before.
        if self.connections.endpoint.is_retired() {
            pool.clear();
        }
    }
}
