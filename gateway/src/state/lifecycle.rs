//! From the first request to the last: what is under way, and how far the gateway has come in stopping.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};

use tokio::sync::Notify;

/// What is under way.
#[derive(Default)]
pub(crate) struct Lifecycle {
    /// The signal to stop came: not ready any more.
    draining: AtomicBool,
    /// The delay after it is over: nothing new is begun.
    closed: AtomicBool,
    in_flight: AtomicUsize,
    idle: Notify,
}

impl Lifecycle {
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
