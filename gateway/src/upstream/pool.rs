//! HTTP/1.1 connections to one backend from one worker, the latest used first; and the way back of one that is in use.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::{Endpoint, Stream};

/// Unused connections, the latest used last.
#[derive(Default)]
pub(super) struct Pool(Mutex<Vec<Idle>>);

struct Idle {
    stream: Stream,
    since: Instant,
}

impl Pool {
    /// The connection used last: the fewer stay warm, the more of the rest can be closed.
    pub(super) fn take(&self) -> Option<Stream> {
        let mut idle = self.0.lock();
        while let Some(mut found) = idle.pop() {
            if found.stream.is_quiet() {
                return Some(found.stream);
            }
        }
        None
    }

    pub(super) fn give(&self, stream: Stream, size: usize) {
        let mut idle = self.0.lock();
        if idle.len() < size {
            idle.push(Idle { stream, since: Instant::now() });
        }
    }

    /// Closes connections unused for longer than `limit`, and those that the backend closed.
    pub(super) fn sweep(&self, limit: std::time::Duration) {
        self.0.lock().retain_mut(|idle| idle.since.elapsed() < limit && idle.stream.is_quiet());
    }

    /// Closes all of them.
    pub(super) fn clear(&self) {
        self.0.lock().clear();
    }

    /// How many connections are unused.
    pub(super) fn len(&self) -> usize {
        self.0.lock().len()
    }
}

/// Where a connection goes when it can be used again.
pub(super) struct Lease {
    pub(super) endpoint: Arc<Endpoint>,
    pub(super) worker: usize,
    pub(super) size: usize,
}

impl Lease {
    /// The answer is whole: the connection may serve another call.
    pub(super) fn give_back(self, stream: Stream) {
        if self.endpoint.is_retired() {
            return;
        }
        let pool = &self.endpoint.pools[self.worker];
        pool.give(stream, self.size);
        // It may have been retired, and the pool cleared, just before.
        if self.endpoint.is_retired() {
            pool.clear();
        }
    }
}
