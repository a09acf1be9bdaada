//! The HTTP/2 connection to one gRPC backend from one worker; calls share it.

use std::sync::Arc;
use std::time::Duration;

use http::Request;
use http::request::Parts;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::sync::Mutex;

use super::{Endpoint, Failed, Received, ResponseBody, Sent, Timeouts, Unconnected, connect, settle, unsent, within};
use crate::upstream::body::RequestBody;
use crate::upstream::retry::Replay;

/// A vanished backend is noticed within this and [`PING_TIMEOUT`] while calls wait for it.
const PING_INTERVAL: Duration = Duration::from_secs(20);
const PING_TIMEOUT: Duration = Duration::from_secs(10);
/// What a backend may send ahead on one stream, and on all of them: enough for a fast network, bounded for memory.
const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 2 * 1024 * 1024;
/// Largest head or trailers of an answer: the details of a refusal travel there, and hyper's 16 KiB are too small for many.
const LARGEST_HEAD: u32 = 64 * 1024;

/// The connection, once somebody needed it. The lock is held while connecting, so that callers share one attempt.
#[derive(Default)]
pub(super) struct Channel(Mutex<Slot>);

/// The connection, and how many there were before it.
#[derive(Default)]
struct Slot {
    sender: Option<SendRequest<RequestBody>>,
    generation: u64,
}

impl Channel {
    /// The connection and its generation; any but the one of generation `stale`, which is going away.
    async fn get(
        &self,
        endpoint: &Endpoint,
        timeouts: &Timeouts,
        stale: Option<u64>,
    ) -> Result<(SendRequest<RequestBody>, u64, bool), Unconnected> {
        let mut slot = self.0.lock().await;
        if let Some(sender) = slot.sender.as_ref().filter(|sender| stale != Some(slot.generation) && sender.is_ready())
        {
            return Ok((sender.clone(), slot.generation, true));
        }
        let sender = open(endpoint, timeouts).await?;
        slot.sender = Some(sender.clone());
        slot.generation += 1;
        Ok((sender, slot.generation, false))
    }

    /// Lets go of the connection: it closes with the last call over it.
    pub(super) fn clear(&self) {
        // While somebody connects the lock is held; that connection goes with the backend.
        if let Ok(mut slot) = self.0.try_lock() {
            slot.sender = None;
        }
    }

    /// Whether a connection is open.
    pub(super) fn is_open(&self) -> bool {
        self.0.try_lock().is_ok_and(|slot| slot.sender.as_ref().is_some_and(|sender| !sender.is_closed()))
    }
}

async fn open(endpoint: &Endpoint, timeouts: &Timeouts) -> Result<SendRequest<RequestBody>, Unconnected> {
    let stream = connect(endpoint, timeouts).await?;
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_header_list_size(LARGEST_HEAD)
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT);
    let (sender, connection) = within(builder.handshake(TokioIo::new(stream)), timeouts).await?;
    shop_runtime::spawn_here(async move {
        // Failures reach whoever waits for an answer; the connection has nothing to add.
        let _ = connection.await;
    });
    Ok(sender)
}

impl Endpoint {
    /// Sends a request over the worker's HTTP/2 connection. If that was going away and took nothing of the request,
    /// over a new one; what was sent of it comes from `replay` then.
    pub(crate) async fn http2(
        self: &Arc<Self>,
        worker: usize,
        head: &Parts,
        mut body: RequestBody,
        replay: Option<&Replay>,
        timeouts: &Timeouts,
    ) -> Result<Received, Failed> {
        let mut stale = None;
        loop {
            let (mut sender, generation, reused) = match self.channels[worker].get(self, timeouts, stale).await {
                Ok(found) => found,
                Err(error) => return Err(unsent(body, error)),
            };
            match settle(sender.try_send_request(Request::from_parts(head.clone(), body)), timeouts).await {
                Sent::Answered(response) => {
                    if reused {
                        self.reused.inc();
                    }
                    let response = response.map(ResponseBody::Right);
                    return Ok(Received { response, resent: stale.is_some() });
                }
                Sent::Back(back) if reused && stale.is_none() => {
                    body = back;
                    stale = Some(generation);
                }
                Sent::Back(back) => return Err(unsent(back, Unconnected::failed("the connection closed at once"))),
                Sent::Dropped(failed) if failed.is_untouched && stale.is_none() => {
                    let Some(again) = replay.and_then(Replay::resume) else { return Err(failed) };
                    body = again;
                    stale = Some(generation);
                }
                Sent::Dropped(failed) | Sent::Failed(failed) => return Err(failed),
            }
        }
    }
}
