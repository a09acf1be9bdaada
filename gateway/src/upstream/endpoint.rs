//! One place to call, and the connections to it: a pool and a channel for each worker, so that a connection stays on the core
//! that opened it.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use prometheus::IntCounter;
use shop_discovery::Protocol;

use super::{Channel, Pool, Stream, Tls, stream};

/// Where a backend is, what is counted there, and the connections to it.
pub(crate) struct Endpoint {
    host: String,
    port: u16,
    label: String,
    /// How it is called over TLS, if it is.
    pub(super) tls: Option<Arc<Tls>>,
    /// Connections opened.
    pub(super) opened: IntCounter,
    /// Calls over a connection that had been used before.
    pub(super) reused: IntCounter,
    in_flight: AtomicUsize,
    /// Nobody calls it any more.
    retired: AtomicBool,
    /// Unused HTTP/1.1 connections.
    pub(super) pools: Box<[Pool]>,
    /// HTTP/2 connections for gRPC.
    pub(super) channels: Box<[Channel]>,
}

impl Endpoint {
    /// An endpoint that none of the `workers` has called yet; `label` is how answers and logs name it.
    pub(crate) fn new(
        (host, port): (String, u16),
        label: String,
        tls: Option<Arc<Tls>>,
        opened: IntCounter,
        reused: IntCounter,
        workers: usize,
    ) -> Arc<Self> {
        Arc::new(Self {
            host,
            port,
            label,
            tls,
            opened,
            reused,
            in_flight: AtomicUsize::new(0),
            retired: AtomicBool::new(false),
            pools: (0..workers).map(|_| Pool::default()).collect(),
            channels: (0..workers).map(|_| Channel::default()).collect(),
        })
    }

    /// `http://host:port`, or `https://host:port`.
    pub(crate) fn label(&self) -> &str {
        &self.label
    }

    /// Host and port.
    pub(crate) fn address(&self) -> (&str, u16) {
        (&self.host, self.port)
    }

    /// Whether it is called in this way: with this TLS, or with none.
    pub(crate) fn is_over(&self, tls: Option<&Arc<Tls>>) -> bool {
        match (&self.tls, tls) {
            (None, None) => true,
            (Some(mine), Some(other)) => Arc::ptr_eq(mine, other),
            _ => false,
        }
    }

    /// Opens a connection for what speaks `protocol`, however long that takes. Small writes go out at once: a proxy must not
    /// add Nagle's delay to others' traffic.
    pub(crate) async fn dial(&self, protocol: Protocol) -> io::Result<Stream> {
        let tls = self.tls.as_ref().map(|tls| tls.ready(&self.host, protocol)).transpose()?;
        let stream = shop_runtime::dial(self.address()).await?;
        let Some(tls) = tls else { return Ok(Stream::Plain(stream)) };
        // Boxed: calls shall not carry the room for a handshake.
        Ok(Stream::Tls(Box::pin(tls.shake(stream::wire(stream))).await?))
    }

    /// Calls that it has not finished.
    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight.load(Relaxed)
    }

    /// A call begins.
    pub(crate) fn enter(&self) {
        self.in_flight.fetch_add(1, Relaxed);
    }

    /// A call is over.
    pub(crate) fn leave(&self) {
        self.in_flight.fetch_sub(1, Relaxed);
    }

    /// Counts as a call until the guard is dropped.
    pub(super) fn occupy(self: &Arc<Self>) -> Occupied {
        self.enter();
        Occupied(Arc::clone(self))
    }

    /// Whether unused connections to it are to be closed.
    pub(super) fn is_retired(&self) -> bool {
        self.retired.load(Relaxed)
    }

    /// Nobody calls it any more: connections are closed as soon as no call uses them.
    pub(crate) fn retire(&self) {
        self.retired.store(true, Relaxed);
        self.pools.iter().for_each(Pool::clear);
        self.channels.iter().for_each(Channel::clear);
    }

    /// Closes connections of `worker` unused for longer than `limit`, and those that the backend closed or a rush left.
    pub(crate) fn sweep(&self, worker: usize, limit: Duration) {
        self.pools[worker].sweep(limit);
        self.channels[worker].sweep();
    }

    /// Unused HTTP/1.1 connections, and HTTP/2 connections that are open.
    pub(crate) fn unused(&self) -> usize {
        self.channels.iter().map(Channel::len).sum::<usize>() + self.pools.iter().map(Pool::len).sum::<usize>()
    }
}

/// A call that is not over.
pub(super) struct Occupied(Arc<Endpoint>);

impl Drop for Occupied {
    fn drop(&mut self) {
        self.0.leave();
    }
}
