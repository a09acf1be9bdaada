//! Calls to backends over pooled connections.

pub(crate) mod body;
mod channel;
mod endpoint;
mod http1;
pub(crate) mod interim;
mod pool;
pub(crate) mod retry;
mod stream;
pub(crate) mod timer;
mod tls;

pub(crate) use endpoint::Endpoint;
pub(crate) use stream::Stream;
pub(crate) use tls::{Tls, is_unusable};

use std::error::Error;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response as HttpResponse};
use http_body_util::Either;
use hyper::client::conn::TrySendError;
use shop_discovery::Protocol;
use shop_http1::response_head::Response;
use tokio::time::{Instant, timeout_at};

use self::channel::Channel;
use self::pool::{Lease, Pool};
use crate::message::reason::Reason;
use crate::upstream::body::{Progress, RequestBody};

/// How long a call may take, and where its body is watched.
pub(crate) struct Timeouts {
    /// To connect.
    pub(crate) connect: Duration,
    /// From the last byte of the request to the answer's head; without a limit for gRPC, whose streams may begin late.
    pub(crate) head: Option<Duration>,
    /// For the first sign of life of a call that is on trial; after that another may be.
    pub(crate) sign: Duration,
    /// When the request came.
    pub(crate) begun: Instant,
    /// The whole exchange.
    pub(crate) end: Option<Instant>,
    /// The request's body, if it has one.
    pub(crate) upload: Option<Arc<Progress>>,
    /// Unused connections kept.
    pub(crate) pool_size: usize,
}

impl Timeouts {
    /// Since when the backend alone is waited for, in a call that went out at `begun`: the last piece of the request's body.
    pub(crate) fn since(&self, begun: Instant) -> Instant {
        self.upload.as_ref().map_or(begun, |upload| upload.latest().max(begun))
    }

    /// Whether the request's body, if it has one, is there whole.
    pub(crate) fn is_whole(&self) -> bool {
        self.upload.as_ref().is_none_or(|upload| upload.has_ended())
    }

    /// Whether a backend that was waited for since `since` had a good part, half, of the time it has when nobody else is slow.
    /// Of an exchange whose time is over, clients can use up as much as they like.
    pub(crate) fn was_enough(&self, since: Instant) -> bool {
        let whole = self.end.map(|end| end.saturating_duration_since(self.begun));
        let full = whole.into_iter().chain(self.head).min();
        full.is_some_and(|full| since.elapsed() >= full / 2)
    }
}

/// Who made a call: it counts as his as long as it runs.
pub(crate) trait Caller: Send + Sync {
    /// A call of his runs on, though nobody waits for it.
    fn begins(&self);

    /// It is over.
    fn ends(&self);

    /// Whether there are any.
    fn has_left_some(&self) -> bool;
}

/// What came of a call.
pub(crate) struct Received {
    pub(crate) response: Response<ResponseBody>,
    /// A connection was found closed and the request sent over another.
    pub(crate) resent: bool,
    /// How long there was no connection to send it over; none when one was open already.
    pub(crate) connected_in: Option<Duration>,
}

/// The body of a response, over HTTP/1.1 or, on the right, HTTP/2. Read to its end, it frees the connection for other calls;
/// dropped before, it closes it.
pub(crate) type ResponseBody = Either<http1::ResponseBody, channel::ResponseBody>;

/// A call without an answer.
pub(crate) struct Failed {
    pub(crate) reason: Reason,
    pub(crate) detail: String,
    /// The request's body, when nothing of it left the gateway: another backend can have it.
    pub(crate) unsent: Option<RequestBody>,
    /// It went out, and the backend said that it did nothing with it.
    is_untouched: bool,
}

impl Failed {
    /// Of a request of which something may have been sent.
    pub(crate) fn sent(reason: Reason, detail: impl Into<String>) -> Self {
        Self { reason, detail: detail.into(), unsent: None, is_untouched: false }
    }
}

/// There is no connection to send a call over.
#[derive(Debug, Clone)]
pub(super) struct Unconnected {
    reason: Reason,
    detail: String,
}

impl Unconnected {
    /// The backend cannot be reached.
    pub(super) fn failed(detail: impl Into<String>) -> Self {
        Self { reason: Reason::ConnectFailed, detail: detail.into() }
    }

    /// The call's own time was over before anybody could tell.
    fn too_late() -> Self {
        let detail = "the time of the call was over before there was a connection";
        Self { reason: Reason::UpstreamTimeout, detail: detail.to_owned() }
    }

    fn of(error: &io::Error) -> Self {
        let reason = match tls::failure(error) {
            Some(_) => Reason::UpstreamTlsFailed,
            None if tls::is_unusable(error) => Reason::TlsUnusable,
            None if shop_runtime::is_shortage(error) => Reason::GatewayExhausted,
            None => Reason::ConnectFailed,
        };
        Self { reason, detail: error.to_string() }
    }
}

/// A call of which nothing was sent, with the body that another backend can have.
fn unsent(body: RequestBody, Unconnected { reason, detail }: Unconnected) -> Failed {
    Failed { unsent: Some(body), ..Failed::sent(reason, detail) }
}

/// Until when there is to be a connection.
#[derive(Clone, Copy)]
struct Due {
    at: Instant,
    /// The call itself ends then: it was the call that had no time.
    is_calls: bool,
}

impl Due {
    fn within(time: Duration) -> Self {
        Self { at: Instant::now() + time, is_calls: false }
    }

    /// For a call that is on its way.
    fn of(timeouts: &Timeouts) -> Self {
        let due = Self::within(timeouts.connect);
        timeouts.end.filter(|end| *end < due.at).map_or(due, |at| Self { at, is_calls: true })
    }

    /// What `work` comes to, if it does in time.
    async fn wait<T>(self, work: impl Future<Output = T>, too_slow: &'static str) -> Result<T, Unconnected> {
        timeout_at(self.at, work).await.map_err(|_| self.missed(too_slow))
    }

    /// What is to be said when nothing came in time.
    fn missed(self, too_slow: &'static str) -> Unconnected {
        if self.is_calls { Unconnected::too_late() } else { Unconnected::failed(too_slow) }
    }
}

/// So often, and at such intervals, a connection is tried again for which this machine has no room: calls end all the time, and
/// idle clients are closed when descriptors run out.
const ROOM_TRIES: usize = 5;
const ROOM_PAUSE: Duration = Duration::from_millis(20);

/// Opens a connection for a call.
async fn connect(endpoint: &Endpoint, protocol: Protocol, due: Due) -> Result<Stream, Unconnected> {
    let mut tries = 0;
    loop {
        let dialled = due.wait(endpoint.dial(protocol), "no connection within the time allowed");
        match dialled.await?.map_err(|error| Unconnected::of(&error)) {
            Ok(stream) => {
                endpoint.opened.inc();
                return Ok(stream);
            }
            Err(why) => {
                let is_over = tries == ROOM_TRIES || due.at <= Instant::now() + ROOM_PAUSE;
                if why.reason != Reason::GatewayExhausted || is_over {
                    return Err(why);
                }
            }
        }
        tries += 1;
        tokio::time::sleep(ROOM_PAUSE).await;
    }
}

/// What [`await_head`] waited for did not come in time.
struct TooLate;

/// Waits for the head of an answer. While the request's body still moves, the backend's time has not begun.
async fn await_head<T>(response: impl Future<Output = T>, timeouts: &Timeouts) -> Result<T, TooLate> {
    let mut response = pin!(response);
    let begun = Instant::now();
    loop {
        let since = timeouts.since(begun);
        let due = timeouts.head.map(|head| since + head).into_iter().chain(timeouts.end).min();
        let Some(due) = due else { return Ok(response.await) };
        match timer::until(due, response.as_mut()).await {
            Some(value) => return Ok(value),
            None if timeouts.end.is_some_and(|end| end <= Instant::now()) => return Err(TooLate),
            None if timeouts.upload.as_ref().is_some_and(|upload| upload.latest() > since) => {}
            None => return Err(TooLate),
        }
    }
}

/// No answer came in time. The word is the client's when the request itself was still on its way when the time for the whole
/// exchange was over.
fn too_late(timeouts: &Timeouts) -> Failed {
    let is_over = timeouts.end.is_some_and(|end| end <= Instant::now());
    match &timeouts.upload {
        Some(_) if is_over && !timeouts.is_whole() => {
            Failed::sent(Reason::BodyTimeout, "the request was not whole when its time was over")
        }
        _ => Failed::sent(Reason::UpstreamTimeout, "the backend did not answer in time"),
    }
}

/// Why a request's body did not go out whole, if it did not.
fn unfinished(timeouts: &Timeouts) -> Option<Failed> {
    let reason = timeouts.upload.as_ref()?.broken()?;
    let detail = match reason {
        Reason::BodyTooLarge => "the body is larger than allowed",
        Reason::BodyTimeout => "the body did not arrive in time",
        Reason::BadRequest => "the body's framing is not valid",
        Reason::GatewayExhausted => "the body cannot be read back",
        _ => "the client went away",
    };
    Some(Failed::sent(reason, detail))
}

/// Why hyper gave no answer to a request of which something may have been sent.
fn failure(error: &hyper::Error, timeouts: &Timeouts) -> Failed {
    if let Some(failed) = unfinished(timeouts) {
        return failed;
    }
    if error.is_parse() || error.is_parse_too_large() {
        return Failed::sent(Reason::UpstreamInvalid, "the backend's answer is not valid HTTP");
    }
    let cause = error.source().map_or_else(|| error.to_string(), ToString::to_string);
    let detail = format!("the backend closed the connection without an answer: {cause}");
    Failed { is_untouched: is_untouched(error), ..Failed::sent(Reason::UpstreamReset, detail) }
}

/// Whether an HTTP/2 backend took nothing of the call (RFC 9113, sections 6.8 and 8.7): its GOAWAY ends calls above the
/// last one it will see to, and only those; or it refused the stream.
fn is_untouched(error: &hyper::Error) -> bool {
    let error = error.source().and_then(|source| source.downcast_ref::<h2::Error>());
    error.filter(|error| error.is_remote()).is_some_and(|error| {
        error.is_go_away() || (error.is_reset() && error.reason() == Some(h2::Reason::REFUSED_STREAM))
    })
}

/// What became of a request handed to a connection.
enum Sent<R> {
    Answered(R),
    /// The connection was gone before anything of the request went out.
    Back(RequestBody),
    /// It went out, and the connection closed without a byte in return.
    Dropped(Failed),
    /// Any other failure.
    Failed(Failed),
}

async fn settle<T, B: Into<RequestBody>>(
    call: impl Future<Output = Result<HttpResponse<T>, TrySendError<Request<B>>>>,
    timeouts: &Timeouts,
) -> Sent<HttpResponse<T>> {
    match await_head(call, timeouts).await {
        Ok(Ok(response)) => Sent::Answered(response),
        Ok(Err(mut error)) => {
            if let Some(request) = error.take_message() {
                return Sent::Back(request.into_body().into());
            }
            let error = error.into_error();
            let failed = failure(&error, timeouts);
            match failed.reason {
                Reason::UpstreamReset if !error.is_timeout() => Sent::Dropped(failed),
                _ => Sent::Failed(failed),
            }
        }
        Err(TooLate) => Sent::Failed(too_late(timeouts)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timeouts(head: Option<u64>, end: u64) -> Timeouts {
        let begun = Instant::now();
        Timeouts {
            connect: Duration::from_secs(2),
            head: head.map(Duration::from_secs),
            sign: Duration::from_secs(35),
            begun,
            end: Some(begun + Duration::from_secs(end)),
            upload: None,
            pool_size: 1,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_got_the_end_of_an_exchange_only_had_no_time() {
        for (head, end, since, enough) in [
            (Some(35), 300, 265, true),
            (Some(35), 300, 299, false),
            // A limit of the whole exchange that is shorter than that of its beginning.
            (Some(35), 10, 0, true),
            (Some(35), 10, 6, false),
        ] {
            let timeouts = timeouts(head, end);
            let since = timeouts.begun + Duration::from_secs(since);
            tokio::time::advance(Duration::from_secs(end)).await;
            assert_eq!(timeouts.was_enough(since), enough, "{head:?} of {end} since {since:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_that_ends_before_a_connection_is_there_says_nothing_of_it() {
        let cut = |end| async move {
            let timeouts = timeouts(None, end);
            Due::of(&timeouts).wait(std::future::pending::<()>(), "slow").await.expect_err("nothing comes").reason
        };
        assert_eq!(cut(1).await, Reason::UpstreamTimeout);
        assert_eq!(cut(3).await, Reason::ConnectFailed);
        let lack = io::Error::from_raw_os_error(rustix::io::Errno::MFILE.raw_os_error());
        assert_eq!(Unconnected::of(&lack).reason, Reason::GatewayExhausted);
        assert_eq!(Unconnected::of(&io::ErrorKind::ConnectionRefused.into()).reason, Reason::ConnectFailed);
    }
}
