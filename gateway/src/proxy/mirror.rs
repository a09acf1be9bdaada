//! Copies of requests for a service that is being tried: sent by a task of their own, their answers thrown away. Whatever
//! becomes of them, the request itself does not notice.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{self, HeaderValue};
use http_body_util::{BodyExt as _, Limited};
use shop_clock::chance;
use shop_http1::Edit as _;
use shop_http1::fields::Fields as _;
use shop_http1::request_head::Parts;
use tokio::sync::oneshot::Receiver;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use crate::message::outcome::{Chance, Sign, judge};
use crate::routing::Tried;
use crate::routing::routes::Mirror;
use crate::settings::Percent;
use crate::upstream::Timeouts;
use crate::upstream::body::RequestBody;
use crate::upstream::interim::Interim;

/// Copies under way at one time, those included whose body still comes: each holds a body, a connection and a task.
pub(super) const MOST_COPIES: usize = 64;

/// No copy takes longer, whatever the service's own times are.
const LONGEST: Duration = Duration::from_mins(1);

/// So much of an answer is read, so that its connection can be used again.
const WORTH_READING: usize = 64 * 1024;

/// Sends a copy of the request with this `head` and `body` to the mirror, if it is one of those that are copied and there is
/// room for it. Nothing here waits.
pub(super) fn begin(
    mirror: &Arc<Mirror>,
    room: &Arc<Semaphore>,
    head: &Parts,
    body: &mut RequestBody,
    worker: usize,
    pool_size: usize,
) {
    if chance::below(Percent::ALL as usize) >= mirror.share as usize || !mirror.service.enabled {
        return;
    }
    let Ok(room) = Arc::clone(room).try_acquire_owned() else {
        mirror.counts.dropped.inc();
        return;
    };
    let whole = if body.is_none() {
        None
    } else if let Some(whole) = body.copy(mirror.body_limit) {
        Some(whole)
    } else {
        mirror.counts.too_large.inc();
        return;
    };
    let copy = Copy { mirror: Arc::clone(mirror), head: copied(head), whole, worker, pool_size, _room: room };
    let failed = mirror.counts.failed.clone();
    shop_runtime::spawn_here(async move {
        if tokio::time::timeout(LONGEST, copy.send()).await.is_err() {
            failed.inc();
            tracing::debug!("a copy of a request took too long");
        }
    });
}

/// The head of a copy, which says that it is one as Envoy's do: by the name of the host.
fn copied(head: &Parts) -> Parts {
    let mut copy = Parts::from(head.to_http());
    let host = copy.headers.text(&header::HOST).map(shadow).and_then(|host| HeaderValue::try_from(host).ok());
    if let Some(host) = host {
        copy.headers.set(header::HOST, host);
    }
    copy
}

/// `host` with `-shadow` at the end of its name.
fn shadow(host: &str) -> String {
    match host.rsplit_once(':') {
        // An address of IPv6 has no name.
        _ if host.starts_with('[') => host.to_owned(),
        Some((name, port)) => format!("{name}-shadow:{port}"),
        None => format!("{host}-shadow"),
    }
}

/// One on its way.
struct Copy {
    mirror: Arc<Mirror>,
    head: Parts,
    /// The body, when it is whole; nothing when it is too large, an error when it breaks off.
    whole: Option<Receiver<Option<Bytes>>>,
    worker: usize,
    pool_size: usize,
    _room: OwnedSemaphorePermit,
}

impl Copy {
    async fn send(mut self) {
        let mut body = RequestBody::none();
        if let Some(whole) = self.whole.take() {
            let counts = &self.mirror.counts;
            match whole.await {
                Ok(Some(bytes)) => body = self.delimit(bytes),
                Ok(None) => return counts.too_large.inc(),
                Err(_) => return counts.failed.inc(),
            }
        }
        let counts = &self.mirror.counts;
        match self.call(body).await {
            Some(()) => counts.sent.inc(),
            None => counts.failed.inc(),
        }
    }

    /// A body of which all is there, with the head that says so.
    fn delimit(&mut self, bytes: Bytes) -> RequestBody {
        self.head.headers.remove_all(&header::TRANSFER_ENCODING);
        self.head.headers.remove_all(&header::TRAILER);
        self.head.headers.set(header::CONTENT_LENGTH, bytes.len().into());
        RequestBody::whole(bytes)
    }

    /// One call at one backend; none when there was no answer.
    async fn call(&self, body: RequestBody) -> Option<()> {
        let times = &self.mirror.times;
        let begun = Instant::now();
        let timeouts = Timeouts {
            connect: times.connect,
            head: Some(times.first_byte),
            sign: times.first_byte,
            begun,
            end: Some(begun + times.total.map_or(LONGEST, |total| total.min(LONGEST))),
            upload: None,
            pool_size: self.pool_size,
        };
        let (backend, permit) = self.mirror.cluster.pick(&mut Tried::default(), true, None).ok()?;
        // What may run at the service at a time may not be more for copies.
        let place = match &self.mirror.cluster.room {
            Some(room) => Some(room.place(Duration::ZERO).await.ok()?),
            None => None,
        };
        let in_flight = backend.begin(place);
        let mut interim = Interim::new(None);
        let received = backend.endpoint.http1(self.worker, &self.head, body, &mut interim, &timeouts).await;
        let chance = Chance { is_whole: true, is_time_ours: timeouts.was_enough(begun) };
        let outcome = match &received {
            Ok(received) => judge(Sign::Http(received.response.head.status, &received.response.head.headers), chance),
            Err(failed) => judge(Sign::Failure(failed.reason), chance),
        };
        if let Some(permit) = permit {
            permit.judge(outcome);
        }
        match received {
            Ok(received) => {
                backend.answered();
                // Read to its end, it frees its connection; what is longer closes it.
                let read = Limited::new(received.response.body, WORTH_READING).collect();
                let _ = tokio::time::timeout_at(timeouts.end.unwrap_or(begun), read).await;
                drop(in_flight);
                Some(())
            }
            Err(failed) => {
                if outcome.is_ill() {
                    backend.failed(failed.reason, &failed.detail);
                }
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_says_by_the_host_that_it_is_one() {
        for (host, expected) in [
            ("shop.example", "shop.example-shadow"),
            ("shop.example:8083", "shop.example-shadow:8083"),
            ("10.0.0.1:80", "10.0.0.1-shadow:80"),
            ("[::1]:80", "[::1]:80"),
            ("[::1]", "[::1]"),
        ] {
            assert_eq!(shadow(host), expected);
        }
    }
}
