//! Calls over HTTP/1.1, in the task of whoever calls: one write, one read, and no buffer while nothing comes.
//!
//! A codec of the gateway's own. hyper's client needs a task for each connection, channels to and from it, and buffers for
//! as long as it is open.

mod arriving;
mod decoder;
mod head;
mod outgoing;
mod room;
#[cfg(test)]
mod tests;

pub(crate) use arriving::Arriving;

use std::io;
use std::task::{Context, Poll};

use bytes::BytesMut;
use http::{Request, Response, StatusCode};
use tokio::net::TcpStream;

use self::head::{Head, Reader};
use self::outgoing::{Outgoing, Trouble};
use super::{Failed, Lease, Patience, TooLate, await_head, unfinished};
use crate::body::Upload;
use crate::interim::Interim;
use crate::reason::Reason;

/// Why an answer is not valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Invalid(&'static str);

/// What became of a request handed to a connection.
pub(super) enum Sent {
    Answered(Response<Arriving>),
    /// The connection was gone before anything of the request went out.
    Back(Request<Upload>),
    /// It went out, and the connection closed without a byte in return.
    Dropped(Failed),
    /// Any other failure.
    Failed(Failed),
}

/// Sends `request` over `stream` and waits for the head of the answer. After the answer the connection goes with `lease`.
pub(super) async fn call(
    stream: TcpStream,
    request: Request<Upload>,
    lease: Lease,
    interim: &mut Interim,
    patience: &Patience,
) -> Sent {
    let mut call = Call {
        stream,
        outgoing: Outgoing::new(request),
        sending: Sending::Running,
        reader: Reader::default(),
        bytes: BytesMut::new(),
        is_answered: false,
    };
    match await_head(std::future::poll_fn(|cx| call.poll_head(interim, cx)), patience).await {
        Ok(Ok(head)) => call.answer(head, lease),
        Ok(Err(end)) => call.failed(end, patience),
        Err(TooLate) => Sent::Failed(Failed::sent(Reason::UpstreamTimeout, "the backend did not answer in time")),
    }
}

/// A call until its answer begins.
struct Call {
    stream: TcpStream,
    outgoing: Outgoing,
    sending: Sending,
    reader: Reader,
    /// What came and was not understood yet.
    bytes: BytesMut,
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
            let bytes = match room::poll_read(&mut self.stream, None, cx) {
                Poll::Ready(Ok(bytes)) if bytes.is_empty() => {
                    return Poll::Ready(Err(End::Closed(io::ErrorKind::UnexpectedEof.into())));
                }
                Poll::Ready(Ok(bytes)) => bytes,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(End::Closed(error))),
                Poll::Pending => return Poll::Pending,
            };
            self.is_answered = true;
            if self.bytes.is_empty() {
                self.bytes = bytes;
            } else {
                self.bytes.extend_from_slice(&bytes);
            }
            if let Some(head) = self.final_head(interim).transpose() {
                return Poll::Ready(head);
            }
        }
    }

    /// The head of the final answer, if it is there; those before it are told to `interim`.
    fn final_head(&mut self, interim: &mut Interim) -> Result<Option<Head>, End> {
        while !self.bytes.is_empty() {
            let head = self.reader.read(&mut self.bytes).map_err(|Invalid(why)| End::Invalid(why))?;
            let Some(head) = head else { return Ok(None) };
            let status = head.parts.status;
            if !status.is_informational() || status == StatusCode::SWITCHING_PROTOCOLS {
                return Ok(Some(head));
            }
            if !interim.arrived(status, head.parts.headers) {
                return Err(End::Invalid("informational answers without end"));
            }
        }
        Ok(None)
    }

    fn answer(self, head: Head, lease: Lease) -> Sent {
        let Self { stream, outgoing, sending, bytes, .. } = self;
        let Head { parts, keeps } = head;
        let decoder = match head::body(&parts, outgoing.method()) {
            Ok(decoder) => decoder,
            Err(Invalid(why)) => return Sent::Failed(Failed::sent(Reason::UpstreamInvalid, why)),
        };
        let is_switched = parts.status == StatusCode::SWITCHING_PROTOCOLS;
        let lease = Some(lease).filter(|_| keeps && !is_switched && sending != Sending::Stuck);
        let body = if sending == Sending::Running {
            Arriving::beside(outgoing, decoder, bytes, stream, lease)
        } else {
            Arriving::new(decoder, bytes, stream, lease)
        };
        Sent::Answered(Response::from_parts(parts, body))
    }

    fn failed(self, end: End, patience: &Patience) -> Sent {
        match end {
            End::Invalid(why) => Sent::Failed(Failed::sent(Reason::UpstreamInvalid, why)),
            End::Body => Sent::Failed(unfinished(patience).unwrap_or_else(|| {
                Failed::sent(Reason::ClientClosed, "the body of the request is not as long as announced")
            })),
            End::Closed(error) => {
                let is_answered = self.is_answered;
                let failed = || {
                    let detail = format!("the backend closed the connection without an answer: {error}");
                    Failed::sent(Reason::UpstreamReset, detail)
                };
                if is_answered {
                    return Sent::Failed(failed());
                }
                match self.outgoing.back() {
                    Some(request) => Sent::Back(request),
                    None => Sent::Dropped(failed()),
                }
            }
        }
    }
}
