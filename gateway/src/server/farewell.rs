//! The last words to a client whose bytes are not read any further.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use http::header::{self, HeaderValue};
use http::{Method, Request, Version};
use shop_http1::request_head::Fault;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::Watch;
use crate::message::headers;
use crate::message::reason::Reason;
use crate::message::refusal::Refusal;
use crate::message::request_id::X_REQUEST_ID;
use crate::record::Exchange;
use crate::state::shared::Shared;

/// An answer, the end of the connection after it, and patience until the client has seen both: to close with unread bytes
/// resets the connection, and the answer with it.
pub(super) struct Farewell {
    answer: Bytes,
    is_closed: bool,
}

impl Farewell {
    pub(super) fn new(answer: Bytes) -> Self {
        Self { answer, is_closed: false }
    }

    /// Ready when there is nothing left to do; how long that may take, the [`Watch`] decides.
    pub(super) fn poll<S>(&mut self, stream: Pin<&mut S>, cx: &mut Context<'_>) -> Poll<()>
    where
        S: AsyncRead + AsyncWrite,
    {
        // A client that is gone needs no farewell.
        self.try_poll(stream, cx).map(|_| ())
    }

    fn try_poll<S>(&mut self, mut stream: Pin<&mut S>, cx: &mut Context<'_>) -> Poll<io::Result<()>>
    where
        S: AsyncRead + AsyncWrite,
    {
        while self.answer.has_remaining() {
            let size = ready!(stream.as_mut().poll_write(cx, &self.answer))?;
            if size == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.answer.advance(size);
        }
        if !self.is_closed {
            ready!(stream.as_mut().poll_shutdown(cx))?;
            self.is_closed = true;
        }
        let mut scrap = [0; 4096];
        loop {
            let mut scrap = ReadBuf::new(&mut scrap);
            ready!(stream.as_mut().poll_read(cx, &mut scrap))?;
            if scrap.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

/// The answer to a head that must not be handed on, recorded like any other; empty if the client could not read it.
pub(super) fn refuse(shared: &std::sync::Arc<Shared>, watch: &std::sync::Arc<Watch>, fault: &Fault) -> Bytes {
    let mut request = Request::new(());
    // Nothing of it can be relied on, its method neither.
    *request.method_mut() = Method::from_bytes(b"-").unwrap_or_default();
    *request.version_mut() = Version::HTTP_11;
    let mut exchange = Exchange::begin(shared, watch.occupy(), &request, watch.is_encrypted());
    let id = exchange.request_id().clone();
    let reason = Reason::from(fault.kind);
    let mut response = Refusal::new(reason, fault.detail).problem(&fault.path, &id);
    let size = response.body().len();
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(size));
    headers.insert(X_REQUEST_ID, id);
    if let Some(security) = &shared.live().security {
        security.write(headers, watch.is_encrypted());
    }
    exchange.answered(response.status(), Some(reason));
    exchange.complete();
    if !fault.speaks_http {
        return Bytes::new();
    }
    exchange.sent(size);
    let mut bytes = headers::lines(response.status(), response.headers());
    bytes.extend_from_slice(response.body());
    Bytes::from(bytes)
}
