//! One place to call, as the calls see it: plain data, of which the connections are made.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};

use prometheus::IntCounter;

/// Where a backend is, and what is counted there.
pub(crate) struct Endpoint {
    host: String,
    port: u16,
    label: String,
    /// Connections opened.
    pub(crate) opened: IntCounter,
    /// Calls over a connection that had been used before.
    pub(crate) reused: IntCounter,
    in_flight: AtomicUsize,
    /// Nobody calls it any more.
    retired: AtomicBool,
}

impl Endpoint {
    /// An endpoint that nobody has called yet; `label` is how answers and logs name it.
    pub(crate) fn new(host: String, port: u16, label: String, opened: IntCounter, reused: IntCounter) -> Self {
        let (in_flight, retired) = (AtomicUsize::new(0), AtomicBool::new(false));
        Self { host, port, label, opened, reused, in_flight, retired }
    }

    /// `http://host:port`.
    pub(crate) fn label(&self) -> &str {
        &self.label
    }

    /// Host and port.
    pub(crate) fn address(&self) -> (&str, u16) {
        (&self.host, self.port)
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

    /// Whether unused connections to it are to be closed.
    pub(crate) fn is_retired(&self) -> bool {
        self.retired.load(Relaxed)
    }

    /// Nobody calls it any more.
    pub(super) fn retire(&self) {
        self.retired.store(true, Relaxed);
    }
}
