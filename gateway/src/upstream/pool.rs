//! HTTP/1.1 connections to one backend from one worker, the latest used first.

use std::io::ErrorKind;
use std::sync::Arc;

use http::Response;
use http::request::Parts;
use parking_lot::Mutex;
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::http1::{self, Sent};
use super::{Answer, Connections, Failed, ResponseBody, Timeouts, connect};
use crate::message::reason::Reason;
use crate::upstream::body::RequestBody;
use crate::upstream::interim::Interim;
use crate::upstream::retry::Replay;

/// Unused connections, the latest used last.
#[derive(Default)]
pub(super) struct Pool(Mutex<Vec<Idle>>);

struct Idle {
    stream: TcpStream,
    since: Instant,
}

impl Idle {
    /// Whether the backend has neither closed it nor said anything, which nobody asked for.
    fn is_usable(&self) -> bool {
        matches!(self.stream.try_read(&mut [0]), Err(error) if error.kind() == ErrorKind::WouldBlock)
    }
}

impl Pool {
    /// The connection used last: the fewer stay warm, the more of the rest can be closed.
    fn take(&self) -> Option<TcpStream> {
        let mut idle = self.0.lock();
        while let Some(found) = idle.pop() {
            if found.is_usable() {
                return Some(found.stream);
            }
        }
        None
    }

    fn give(&self, stream: TcpStream, size: usize) {
        let mut idle = self.0.lock();
        if idle.len() < size {
            idle.push(Idle { stream, since: Instant::now() });
        }
    }

    /// Closes connections unused for longer than `limit`, and those that the backend closed.
    pub(super) fn sweep(&self, limit: std::time::Duration) {
        self.0.lock().retain(|idle| idle.since.elapsed() < limit && idle.is_usable());
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
    connections: Arc<Connections>,
    worker: usize,
    size: usize,
}

impl Lease {
    /// Which it belongs to.
    pub(super) fn connections(&self) -> &Arc<Connections> {
        &self.connections
    }

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

impl Connections {
    /// Sends a request over an unused connection, or a new one.
    ///
    /// A backend may close an unused connection just when it is taken. Then the request goes out again over a new
    /// connection if nothing of it was sent, or if nobody can tell that it was sent twice. Informational
    /// answers go to `interim` in each case.
    pub(crate) async fn http1(
        self: &Arc<Self>,
        worker: usize,
        head: &Parts,
        mut body: RequestBody,
        interim: &mut Interim,
        timeouts: &Timeouts,
    ) -> Result<Answer, Failed> {
        let is_unnoticed = Replay::is_unnoticed(&head.method, &body);
        let lease = || Lease { connections: Arc::clone(self), worker, size: timeouts.pool_size };
        let mut resent = false;
        while let Some(stream) = self.pools[worker].take() {
            match http1::call(stream, head, body, lease(), interim, timeouts).await {
                Sent::Answered(response) => {
                    self.endpoint.reused.inc();
                    return Ok(answer(response, resent));
                }
                Sent::Back(back) => body = back,
                Sent::Dropped(failed) => {
                    if !is_unnoticed {
                        return Err(failed);
                    }
                    body = RequestBody::none();
                    resent = true;
                    break;
                }
                Sent::Failed(failed) => return Err(failed),
            }
        }
        let stream = match connect(&self.endpoint, timeouts).await {
            Ok(stream) => stream,
            Err(error) => return Err(unsent(body, error)),
        };
        match http1::call(stream, head, body, lease(), interim, timeouts).await {
            Sent::Answered(response) => Ok(answer(response, resent)),
            Sent::Back(back) => Err(unsent(back, "the connection closed at once".to_owned())),
            Sent::Dropped(failed) | Sent::Failed(failed) => Err(failed),
        }
    }
}

fn answer(response: Response<http1::ResponseBody>, resent: bool) -> Answer {
    Answer { response: response.map(ResponseBody::Http1), resent }
}

pub(super) fn unsent(body: RequestBody, detail: String) -> Failed {
    Failed { unsent: Some(body), ..Failed::sent(Reason::ConnectFailed, detail) }
}
