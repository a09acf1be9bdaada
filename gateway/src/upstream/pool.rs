//! HTTP/1.1 connections to one backend from one worker, the latest used first.

use std::sync::Arc;

use http::Request;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::{Answer, Failed, Patience, Sent, connect, settle, within};
use crate::body::Upload;
use crate::interim::Interim;
use crate::reason::Reason;
use crate::retry::Replay;
use crate::service::Backend;

/// Largest head of an answer; twice what clients may send, since services set cookies and links.
const LARGEST_HEAD: usize = 64 * 1024;

/// Unused connections, the latest used last.
#[derive(Default)]
pub(crate) struct Pool(Mutex<Vec<Idle>>);

struct Idle {
    sender: SendRequest<Upload>,
    since: Instant,
}

impl Pool {
    /// The connection used last: the fewer stay warm, the more of the rest can be closed.
    fn take(&self) -> Option<SendRequest<Upload>> {
        let mut idle = self.0.lock();
        // One whose driver has not finished the last answer yet is left for later.
        let ready = idle.iter().rposition(|idle| idle.sender.is_ready());
        let found = ready.map(|place| idle.remove(place).sender);
        if found.is_none() {
            idle.retain(|idle| !idle.sender.is_closed());
        }
        found
    }

    fn give(&self, sender: SendRequest<Upload>, size: usize) {
        let mut idle = self.0.lock();
        if idle.len() < size {
            idle.push(Idle { sender, since: Instant::now() });
        }
    }

    /// Closes connections unused for longer than `limit`, and forgets those the backend closed.
    pub(crate) fn sweep(&self, limit: std::time::Duration) {
        self.0.lock().retain(|idle| !idle.sender.is_closed() && idle.since.elapsed() < limit);
    }

    /// Closes all of them.
    pub(crate) fn clear(&self) {
        self.0.lock().clear();
    }

    /// How many connections are unused.
    pub(crate) fn len(&self) -> usize {
        self.0.lock().len()
    }
}

/// A connection in use. Dropped, it is closed; given back, it can be used again.
pub(crate) struct Lease {
    backend: Arc<Backend>,
    worker: usize,
    size: usize,
    sender: SendRequest<Upload>,
}

impl Lease {
    /// The answer is whole: the connection may serve another call.
    pub(crate) fn give_back(self) {
        if self.sender.is_closed() || self.backend.is_retired() {
            return;
        }
        let pool = &self.backend.pools[self.worker];
        pool.give(self.sender, self.size);
        // It may have been retired, and the pool cleared, just before.
        if self.backend.is_retired() {
            pool.clear();
        }
    }
}

impl Backend {
    /// Sends `request` over an unused connection, or a new one.
    ///
    /// A backend may close an unused connection just when it is taken. Then the request goes out again over a new
    /// connection if nothing of it was sent, or if nobody can tell that it was sent twice, by `replay`. Informational
    /// answers go to `interim` in each case.
    pub(crate) async fn http1(
        self: &Arc<Self>,
        worker: usize,
        mut request: Request<Upload>,
        replay: Option<&Replay>,
        interim: &Arc<Interim>,
        patience: &Patience,
    ) -> Result<Answer, Failed> {
        interim.listen(&mut request);
        let replay = replay.filter(|_| Replay::is_unnoticed(request.method(), request.body()));
        let mut resent = false;
        while let Some(mut sender) = self.pools[worker].take() {
            match settle(sender.try_send_request(request), patience).await {
                Sent::Answered(response) => {
                    self.metrics.reused.inc();
                    return Ok(self.answer(worker, response, sender, patience, resent));
                }
                Sent::Back(back) => request = back,
                Sent::Dropped(failed) => {
                    let Some(spare) = replay.and_then(Replay::request) else { return Err(failed) };
                    request = spare;
                    interim.listen(&mut request);
                    resent = true;
                    break;
                }
                Sent::Failed(failed) => return Err(failed),
            }
        }
        let mut sender = match self.open(patience).await {
            Ok(sender) => sender,
            Err(error) => return Err(unsent(request, error)),
        };
        match settle(sender.try_send_request(request), patience).await {
            Sent::Answered(response) => Ok(self.answer(worker, response, sender, patience, resent)),
            Sent::Back(back) => Err(unsent(back, "the connection closed at once".to_owned())),
            Sent::Dropped(failed) | Sent::Failed(failed) => Err(failed),
        }
    }

    async fn open(&self, patience: &Patience) -> Result<SendRequest<Upload>, String> {
        let stream = connect(self, patience).await?;
        let mut builder = http1::Builder::new();
        builder.max_header_size(LARGEST_HEAD).max_buf_size(LARGEST_HEAD);
        let (sender, connection) = within(builder.handshake(TokioIo::new(stream)), patience).await?;
        crate::spawn(async move {
            // Failures reach whoever waits for the answer; the connection has nothing to add.
            let _ = connection.with_upgrades().await;
        });
        Ok(sender)
    }

    fn answer(
        self: &Arc<Self>,
        worker: usize,
        response: http::Response<hyper::body::Incoming>,
        sender: SendRequest<Upload>,
        patience: &Patience,
        resent: bool,
    ) -> Answer {
        let lease = Lease { backend: Arc::clone(self), worker, size: patience.pool_size, sender };
        Answer { response, lease: Some(lease), resent }
    }
}

pub(super) fn unsent(request: Request<Upload>, detail: String) -> Failed {
    Failed { unsent: Some(request), ..Failed::sent(Reason::ConnectFailed, detail) }
}
