//! The body of an answer over HTTP/1.1, read by whoever wants it: no task and no channel stand in between.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::future::{AbortHandle, abortable};
use http_body::{Body, Frame, SizeHint};
use shop_http1::{Decoder, Outgoing, Piece, Trouble, read_buffer};
use tokio::io::AsyncWriteExt as _;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::upstream::body::RequestBody;
use crate::upstream::pool::Lease;
use crate::upstream::stream::{Reading, Writing};
use crate::upstream::{Endpoint, Stream};

/// The rest of a response is missing.
#[derive(Debug, thiserror::Error)]
#[error("the backend broke off its response")]
pub(crate) struct Lost;

/// A body, and the connection that it comes over.
pub(crate) struct ResponseBody {
    decoder: Decoder,
    /// Read and not handed on.
    bytes: Bytes,
    link: Link,
    /// Where the connection goes after the body's end, if it may be used again.
    lease: Option<Lease>,
}

enum Link {
    Whole(Stream),
    /// The request is still being sent, by a task of its own: whoever does not take the answer yet may be busy sending.
    Shared(Reading, Sending),
    /// Back in the pool, or closed.
    Gone,
}

/// The rest of a request.
struct Sending {
    task: AbortHandle,
    /// The connection's other half when all is sent; an error when the client broke off.
    done: oneshot::Receiver<Result<Writing, Trouble>>,
    overtime: Overtime,
}

/// What bounds and counts a request that outlasts its answer.
pub(super) struct Overtime {
    pub(super) endpoint: Arc<Endpoint>,
    /// When it must be over.
    pub(super) end: Option<Instant>,
}

impl ResponseBody {
    /// The body that `decoder` finds in `bytes` and what comes over `stream`.
    pub(super) fn new(decoder: Decoder, bytes: Bytes, stream: Stream, lease: Option<Lease>) -> Self {
        let mut body = Self { decoder, bytes, link: Link::Whole(stream), lease };
        if body.decoder.is_done() && body.lease.is_some() {
            body.finish();
        }
        body
    }

    /// The same while `outgoing` is still being sent.
    pub(super) fn beside(
        outgoing: Outgoing<RequestBody>,
        decoder: Decoder,
        bytes: Bytes,
        stream: Stream,
        lease: Option<Lease>,
        overtime: Overtime,
    ) -> Self {
        let (read, write) = stream.into_split();
        let (tell, done) = oneshot::channel();
        let (task, handle) = abortable(send(outgoing, write, tell));
        shop_runtime::spawn_here(async move {
            // Whoever ended it needs no telling.
            let _ = task.await;
        });
        let sending = Sending { task: handle, done, overtime };
        let mut body = Self { decoder, bytes, link: Link::Shared(read, sending), lease };
        if body.decoder.is_done() {
            body.finish();
        }
        body
    }

    /// The connection when the backend switched protocols over it, with what it has said already.
    pub(crate) fn into_stream(mut self) -> Option<(Stream, Bytes)> {
        match std::mem::replace(&mut self.link, Link::Gone) {
            Link::Whole(stream) => Some((stream, std::mem::take(&mut self.bytes))),
            _ => None,
        }
    }

    /// The body is whole.
    fn finish(&mut self) {
        let lease = self.lease.take().filter(|_| self.bytes.is_empty());
        let stream = match std::mem::replace(&mut self.link, Link::Gone) {
            Link::Whole(stream) => Some(stream),
            Link::Shared(read, mut sending) => match sending.done.try_recv() {
                Ok(Ok(write)) => read.reunite(write),
                Ok(Err(_)) => None,
                Err(_) => {
                    sending.outlast(read);
                    None
                }
            },
            Link::Gone => None,
        };
        if let (Some(lease), Some(stream)) = (lease, stream) {
            lease.give_back(stream);
        }
    }

    fn broke_off(&mut self) -> Poll<Option<Result<Piece, Lost>>> {
        self.decoder = Decoder::Done;
        if let Link::Shared(_, sending) = std::mem::replace(&mut self.link, Link::Gone) {
            sending.task.abort();
        }
        Poll::Ready(Some(Err(Lost)))
    }

    /// Looks whether the client broke off its request: then what was to be the body's end is not. The news comes only once.
    fn notice_break_off(&mut self) -> bool {
        let Link::Shared(_, sending) = &mut self.link else { return false };
        matches!(sending.done.try_recv(), Ok(Err(_)))
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Piece, Lost>>> {
        loop {
            let next = self.decoder.next(&mut self.bytes);
            // With the last piece, not after it: who knows the length does not ask again, and the connection would stay away.
            if next.is_ok() && self.decoder.is_done() {
                self.finish();
            }
            match next {
                Ok(Some(piece)) => return Poll::Ready(Some(Ok(piece))),
                Ok(None) if self.decoder.is_done() => return Poll::Ready(None),
                Ok(None) => {}
                Err(_) => return self.broke_off(),
            }
            let desired = self.decoder.left();
            let read = match &mut self.link {
                Link::Whole(stream) => ready!(read_buffer::poll_read(stream, desired, cx)),
                Link::Shared(stream, _) => ready!(read_buffer::poll_read(stream, desired, cx)),
                Link::Gone => Ok(Bytes::new()),
            };
            match read {
                Ok(bytes) if !bytes.is_empty() => self.bytes = bytes,
                // The end of the connection is the end of a body that says no length, unless this side caused it.
                Ok(_) if self.decoder.end() && !self.notice_break_off() => self.lease = None,
                _ => return self.broke_off(),
            }
        }
    }
}

impl Sending {
    /// The answer is whole. What the client still sends goes on to the backend as long as it takes it, in the call's time.
    fn outlast(self, mut read: Reading) {
        let Self { task, done, overtime: Overtime { endpoint, end } } = self;
        let in_flight = endpoint.occupy();
        shop_runtime::spawn_here(async move {
            let end = async {
                match end {
                    Some(end) => tokio::time::sleep_until(end).await,
                    None => std::future::pending().await,
                }
            };
            // A backend that has said all it has to say may still take the rest; one that is gone does not.
            tokio::select! {
                _ = done => {}
                () = read.broken() => task.abort(),
                () = end => task.abort(),
            }
            drop(in_flight);
        });
    }
}

impl Drop for ResponseBody {
    /// Nobody wants the rest: no more of the request is sent either.
    fn drop(&mut self) {
        if let Link::Shared(_, sending) = &self.link {
            sending.task.abort();
        }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = Lost;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Lost>>> {
        self.poll_next(cx).map_ok(|piece| match piece {
            Piece::Data(data) => Frame::data(data),
            Piece::Trailers(trailers) => Frame::trailers(trailers),
        })
    }

    fn is_end_stream(&self) -> bool {
        self.decoder.is_done()
    }

    fn size_hint(&self) -> SizeHint {
        self.decoder.left().map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

/// Sends the rest of a request.
async fn send(
    mut outgoing: Outgoing<RequestBody>,
    mut stream: Writing,
    done: oneshot::Sender<Result<Writing, Trouble>>,
) {
    let sent = std::future::poll_fn(|cx| outgoing.poll_send(&mut stream, cx)).await;
    // Nobody listens when the answer was whole before.
    match sent {
        // TLS keeps what the socket beneath did not take.
        Ok(()) if stream.flush().await.is_ok() => drop(done.send(Ok(stream))),
        // A backend that has answered need not take the rest; its answer shows what it did.
        Ok(()) | Err(Trouble::Connection(_)) => {}
        Err(trouble @ Trouble::Body) => {
            drop(done.send(Err(trouble)));
            // Half a request is no request: the answer ends too. A connection that is gone needs no ending.
            stream.cut();
        }
    }
}
