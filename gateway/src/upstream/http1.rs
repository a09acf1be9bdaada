//! Calls over HTTP/1.1, in the task of whoever calls: one write, one read, and no buffer while nothing comes.
//!
//! The codec is `shop_http1`. hyper's client needs a task for each connection, channels to and from it, and buffers for
//! as long as it is open.

mod response_body;

pub(crate) use response_body::ResponseBody;

use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, StatusCode, header};
use shop_discovery::Protocol;
use shop_http1::fields::Fields as _;
use shop_http1::request_head::Parts;
use shop_http1::response_head::{self, Head, Reader, Response};
use shop_http1::{Framing, Invalid, Outgoing, Trouble, fields, read_buffer, request_head};
use tokio::time::Instant;

use self::response_body::Overtime;
use super::{
    Due, Endpoint, Failed, Lease, Received, Sent, Stream, Timeouts, TooLate, Unconnected, await_head, connect, tls,
    too_late, unfinished, unsent,
};
use crate::message::headers;
use crate::message::reason::Reason;
use crate::upstream::body::RequestBody;
use crate::upstream::interim::Interim;
use crate::upstream::retry::Replay;

impl Endpoint {
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
    ) -> Result<Received, Failed> {
        let is_unnoticed = Replay::is_unnoticed(&head.method, &body);
        let lease = || Lease { endpoint: Arc::clone(self), worker, size: timeouts.pool_size };
        let mut resent = false;
        while let Some(stream) = self.pools[worker].take() {
            match call(stream, head, body, lease(), interim, timeouts).await {
                Sent::Answered(response) => {
                    self.reused.inc();
                    return Ok(received(response, resent, None));
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
        let begun = Instant::now();
        let stream = match connect(self, Protocol::Http, Due::of(timeouts)).await {
            Ok(stream) => stream,
            Err(error) => return Err(unsent(body, error)),
        };
        let connected_in = Some(begun.elapsed());
        match call(stream, head, body, lease(), interim, timeouts).await {
            Sent::Answered(response) => Ok(received(response, resent, connected_in)),
            Sent::Back(back) => Err(unsent(back, Unconnected::failed("the connection closed at once"))),
            Sent::Dropped(failed) | Sent::Failed(failed) => Err(failed),
        }
    }
}

fn received(response: Response<ResponseBody>, resent: bool, connected_in: Option<Duration>) -> Received {
    Received { response: response.map(super::ResponseBody::Left), resent, connected_in }
}

/// Sends a request over `stream` and waits for the head of the answer. After the answer the connection goes with `lease`.
async fn call(
    stream: Stream,
    head: &Parts,
    body: RequestBody,
    lease: Lease,
    interim: &mut Interim,
    timeouts: &Timeouts,
) -> Sent<Response<ResponseBody>> {
    let mut call = Call {
        stream,
        outgoing: outgoing(head, body),
        sending: Sending::Running,
        reader: Reader::default(),
        is_answered: false,
    };
    match await_head(std::future::poll_fn(|cx| call.poll_head(interim, cx)), timeouts).await {
        Ok(Ok(response)) => call.respond(response, &head.method, lease, timeouts),
        Ok(Err(end)) => call.failed(end, timeouts),
        Err(TooLate) => Sent::Failed(too_late(timeouts)),
    }
}

/// One of the two that delimit a body is said for every body: see [`headers::to_backend`].
fn outgoing(head: &Parts, body: RequestBody) -> Outgoing<RequestBody> {
    let framing = if body.is_none() {
        Framing::Ended
    } else if head.headers.has(&header::TRANSFER_ENCODING) {
        Framing::Chunked(fields::announced(&head.headers, headers::is_vouched_for))
    } else {
        fields::length(&head.headers).filter(|length| *length > 0).map_or(Framing::Ended, Framing::Length)
    };
    Outgoing::request(framing, body, |lines| request_head::write(head, lines))
}

/// A call until its answer begins.
struct Call {
    stream: Stream,
    outgoing: Outgoing<RequestBody>,
    sending: Sending,
    reader: Reader,
    /// Something came.
    is_answered: bool,
}

/// How far sending has come.
#[derive(PartialEq, Eq)]
enum Sending {
    Running,
    Done,
    /// The backend takes no more; it may have answered all the same.
    Stuck,
}

/// Why there is no answer.
enum End {
    Closed(io::Error),
    Invalid(&'static str),
    /// The request's body broke off.
    Body,
}

impl Call {
    fn poll_head(&mut self, interim: &mut Interim, cx: &mut Context<'_>) -> Poll<Result<Head, End>> {
        // Sending never keeps from reading: a backend may refuse a body before it has all of it, and would not be heard.
        if self.sending == Sending::Running {
            match self.outgoing.poll_send(&mut self.stream, cx) {
                Poll::Ready(Ok(())) => self.sending = Sending::Done,
                Poll::Ready(Err(Trouble::Body)) => return Poll::Ready(Err(End::Body)),
                Poll::Ready(Err(Trouble::Connection(error))) if !self.outgoing.is_begun() => {
                    return Poll::Ready(Err(End::Closed(error)));
                }
                Poll::Ready(Err(Trouble::Connection(_))) => self.sending = Sending::Stuck,
                Poll::Pending => {}
            }
        }
        loop {
            let bytes = match read_buffer::poll_read(&mut self.stream, None, cx) {
                Poll::Ready(Ok(bytes)) if bytes.is_empty() => {
                    return Poll::Ready(Err(End::Closed(io::ErrorKind::UnexpectedEof.into())));
                }
                Poll::Ready(Ok(bytes)) => bytes,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(End::Closed(error))),
                Poll::Pending => return Poll::Pending,
            };
            // From the first byte on the backend has seen the request: it must not go out again by itself.
            self.is_answered = true;
            if let Some(head) = self.final_head(bytes, interim).transpose() {
                return Poll::Ready(head);
            }
        }
    }

    /// The head of the final answer, if it is there; those before it are told to `interim`.
    fn final_head(&mut self, mut bytes: Bytes, interim: &mut Interim) -> Result<Option<Head>, End> {
        while !bytes.is_empty() {
            let head = self.reader.read(bytes).map_err(|Invalid(why)| End::Invalid(why))?;
            let Some(head) = head else { return Ok(None) };
            let status = head.parts.status;
            if !status.is_informational() || status == StatusCode::SWITCHING_PROTOCOLS {
                return Ok(Some(head));
            }
            if !interim.arrived(status, head.parts.headers) {
                return Err(End::Invalid("informational answers without end"));
            }
            bytes = head.rest;
        }
        Ok(None)
    }

    fn respond(self, head: Head, method: &Method, lease: Lease, timeouts: &Timeouts) -> Sent<Response<ResponseBody>> {
        let Self { stream, outgoing, sending, .. } = self;
        let Head { mut parts, keeps, rest } = head;
        // Before the connection can be used again: after an answer that nobody may have, nobody may use it.
        let settled = headers::settle_length(&mut parts.headers).map_err(Invalid);
        let decoder = match settled.and_then(|()| response_head::body(&parts, method)) {
            Ok(decoder) => decoder,
            Err(Invalid(why)) => return Sent::Failed(Failed::sent(Reason::UpstreamInvalid, why)),
        };
        let is_switched = parts.status == StatusCode::SWITCHING_PROTOCOLS;
        let overtime = (sending == Sending::Running)
            .then(|| Overtime { endpoint: Arc::clone(&lease.endpoint), end: timeouts.end });
        let lease = Some(lease).filter(|_| keeps && !is_switched && sending != Sending::Stuck);
        let body = if let Some(overtime) = overtime {
            ResponseBody::beside(outgoing, decoder, rest, stream, lease, overtime)
        } else {
            ResponseBody::new(decoder, rest, stream, lease)
        };
        Sent::Answered(Response { head: parts, body })
    }

    fn failed(self, end: End, timeouts: &Timeouts) -> Sent<Response<ResponseBody>> {
        match end {
            End::Invalid(why) => Sent::Failed(Failed::sent(Reason::UpstreamInvalid, why)),
            End::Body => Sent::Failed(unfinished(timeouts).unwrap_or_else(|| {
                Failed::sent(Reason::ClientClosed, "the body of the request is not as long as announced")
            })),
            End::Closed(error) => {
                let is_answered = self.is_answered;
                let refused = tls::refused(&error).filter(|_| !is_answered);
                if let Some(why) = refused {
                    return Sent::Failed(Failed::sent(Reason::UpstreamTlsFailed, why));
                }
                let failed = || {
                    let detail = format!("the backend closed the connection without an answer: {error}");
                    Failed::sent(Reason::UpstreamReset, detail)
                };
                if is_answered {
                    return Sent::Failed(failed());
                }
                match self.outgoing.back() {
                    Some(body) => Sent::Back(body),
                    None => Sent::Dropped(failed()),
                }
            }
        }
    }
}
