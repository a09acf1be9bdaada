//! The connections to one endpoint: a pool and a channel for each worker, so that a connection stays on the core that
//! opened it.

use std::sync::Arc;
use std::time::Duration;

use super::{Channel, Endpoint, Pool};

/// The connections to one endpoint.
pub(crate) struct Connections {
    pub(crate) endpoint: Endpoint,
    /// Unused HTTP/1.1 connections.
    pub(super) pools: Box<[Pool]>,
    /// HTTP/2 connections for gRPC.
    pub(super) channels: Box<[Channel]>,
}

impl Connections {
    /// None yet, to `endpoint`.
    pub(crate) fn new(endpoint: Endpoint, workers: usize) -> Arc<Self> {
        Arc::new(Self {
            endpoint,
            pools: (0..workers).map(|_| Pool::default()).collect(),
            channels: (0..workers).map(|_| Channel::default()).collect(),
        })
    }

    /// Nobody calls the endpoint any more: connections are closed as soon as no call uses them.
    pub(crate) fn retire(&self) {
        self.endpoint.retire();
        self.pools.iter().for_each(Pool::clear);
        self.channels.iter().for_each(Channel::clear);
    }

    /// Closes connections of `worker` unused for longer than `limit`, and those that the backend closed.
    pub(crate) fn sweep(&self, worker: usize, limit: Duration) {
        self.pools[worker].sweep(limit);
    }

    /// Unused HTTP/1.1 connections, and HTTP/2 connections that are open.
    pub(crate) fn unused(&self) -> usize {
        let open = self.channels.iter().filter(|channel| channel.is_open()).count();
        open + self.pools.iter().map(Pool::len).sum::<usize>()
    }

    /// Counts as a call until the guard is dropped.
    pub(super) fn occupy(self: &Arc<Self>) -> Occupied {
        self.endpoint.enter();
        Occupied(Arc::clone(self))
    }
}

/// A call that is not over.
pub(super) struct Occupied(Arc<Connections>);

impl Drop for Occupied {
    fn drop(&mut self) {
        self.0.endpoint.leave();
    }
}
