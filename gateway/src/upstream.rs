//! Calls to backends over pooled connections.

pub(crate) mod body;
mod channel;
mod endpoint;
mod http1;
pub(crate) mod interim;
mod pool;
pub(crate) mod retry;
pub(crate) mod timer;

pub(crate) use endpoint::Endpoint;

use std::error::Error;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use http_body_util::Either;
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};

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
    /// The whole exchange.
    pub(crate) end: Option<Instant>,
    /// The request's body, if it has one.
    pub(crate) upload: Option<Arc<Progress>>,
    /// Unused connections kept.
    pub(crate) pool_size: usize,
}

/// What came of a call.
pub(crate) struct Received {
    pub(crate) response: Response<ResponseBody>,
    /// A connection was found closed and the request sent over another.
    pub(crate) resent: bool,
}

/// The body of a response, over HTTP/1.1 or, on the right, HTTP/2. Read to its end, it frees the connection for other calls;
/// dropped before, it closes it.
pub(crate) type ResponseBody = Either<http1::ResponseBody, Incoming>;

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

/// A call of which nothing was sent, with the body that another backend can have.
fn unsent(body: RequestBody, detail: String) -> Failed {
    Failed { unsent: Some(body), ..Failed::sent(Reason::ConnectFailed, detail) }
}

/// Opens a connection. Small writes go out at once: a proxy must not add Nagle's delay to others' traffic.
async fn connect(endpoint: &Endpoint, timeouts: &Timeouts) -> Result<TcpStream, String> {
    let due = Instant::now() + timeouts.connect;
    let due = timeouts.end.map_or(due, |end| end.min(due));
    let stream = match timeout_at(due, shop_runtime::dial(endpoint.address())).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return Err(error.to_string()),
        Err(_) => return Err("no connection within the time allowed".to_owned()),
    };
    endpoint.opened.inc();
    Ok(stream)
}

/// What [`await_head`] waited for did not come in time.
struct TooLate;

/// Waits for the head of an answer. While the request's body still moves, the backend's time has not begun.
async fn await_head<T>(response: impl Future<Output = T>, timeouts: &Timeouts) -> Result<T, TooLate> {
    let mut response = pin!(response);
    let begun = Instant::now();
    loop {
        let since = timeouts.upload.as_ref().map_or(begun, |upload| upload.latest().max(begun));
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

/// No answer came in time. That is the backend's fault, unless the request itself was still on its way when the time for the
/// whole exchange was over: then nobody knows who was slow.
fn too_late(timeouts: &Timeouts) -> Failed {
    let is_over = timeouts.end.is_some_and(|end| end <= Instant::now());
    match &timeouts.upload {
        Some(upload) if is_over && !upload.has_ended() => {
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
enum Sent<B> {
    Answered(Response<B>),
    /// The connection was gone before anything of the request went out.
    Back(RequestBody),
    /// It went out, and the connection closed without a byte in return.
    Dropped(Failed),
    /// Any other failure.
    Failed(Failed),
}

type Outcome = Result<Response<Incoming>, TrySendError<Request<RequestBody>>>;

async fn settle(call: impl Future<Output = Outcome>, timeouts: &Timeouts) -> Sent<Incoming> {
    match await_head(call, timeouts).await {
        Ok(Ok(response)) => Sent::Answered(response),
        Ok(Err(mut error)) => {
            if let Some(request) = error.take_message() {
                return Sent::Back(request.into_body());
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

/// A handshake is local work for HTTP/1.1 and one flight for HTTP/2; neither may hang on a peer that says nothing.
async fn within<T>(handshake: impl Future<Output = hyper::Result<T>>, timeouts: &Timeouts) -> Result<T, String> {
    match timeout(timeouts.connect, handshake).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err("no handshake within the time allowed".to_owned()),
    }
}
