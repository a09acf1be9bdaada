//! A client's connection over HTTP/1.1, in one task: a head is read, the request served while its body comes, the answer
//! written, and so on.
//!
//! The codec is `shop_http1`. hyper's server reads every head a second time, behind the check that keeps ambiguous ones
//! out, and keeps buffers for as long as a connection is open. Here one that waits holds none.

use std::future::poll_fn;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use http::Method;
use http_body::Body;
use shop_http1::request_head::{Fault, Head, Reader};
use shop_http1::response::{self, RequestInfo};
use shop_http1::{Decoder, Invalid, Outgoing, Piece, Trouble, read_buffer};
use tokio::io::AsyncWrite;

use super::connection_state::Command;
use super::handler::{Handler, Sent, Served, Serving, Tunnel as _};
use super::lingering_close::LingeringClose;
use super::socket::{Socket, Watched, will_reset};
use super::{ConnectionState, Worker, future_pool};
use crate::message::headers::is_vouched_for;
use crate::message::reason::Reason;
use crate::upstream::body::Incoming;
use crate::upstream::body::channel::{self, Demand, Sender};

/// So much of a body that nobody reads is waited for: to close a connection costs the client more.
const MOST_SKIPPED: u64 = 64 * 1024;

/// Pieces up to this size are put together, up to so many bytes.
const SMALL: usize = 2 * 1024;
const ENOUGH: usize = 8 * 1024;

const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// A client's connection.
pub(super) struct Connection {
    socket: Socket,
    /// Read and not looked at.
    ahead: Bytes,
    reader: Reader,
    state: Arc<ConnectionState>,
    /// What is still to come of the body of the request being served.
    rest: Option<Rest>,
    /// The client broke off in a body, or sent one that is not valid: what follows is no request.
    is_spoilt: bool,
    /// It says that it sends nothing more, or is gone.
    is_half_closed: bool,
    /// The answer to the request being served is there.
    is_answering: bool,
    /// Informational answers being sent.
    interim: Vec<u8>,
}

/// What follows an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Then {
    Next,
    /// The connection ends.
    End,
    /// It ends, and something may be on its way that will not be read.
    Leave,
    /// The client is gone, or is to be cut off.
    Cut,
}

/// A response while it is sent: however that ends, its body is told.
struct Departing<B: Body<Data = Bytes> + Sent + Unpin> {
    outgoing: Outgoing<B>,
    has_left: bool,
}

impl<B: Body<Data = Bytes> + Sent + Unpin> Drop for Departing<B> {
    fn drop(&mut self) {
        if !self.has_left {
            let unsent = self.outgoing.unsent();
            self.outgoing.body_mut().lost(unsent);
        }
    }
}

/// What is still to come of a body.
struct Rest {
    decoder: Decoder,
    sender: Sender,
    /// The client waits for a 100.
    expects: bool,
    /// Small pieces, to be given as one: to pass a piece on costs more than to copy it.
    gathered: BytesMut,
    /// What follows them.
    next: Option<Piece>,
}

/// What [`Rest::piece`] has for whoever reads the body.
enum Given {
    /// A piece; or, without one, the end.
    Some(Option<Piece>),
    /// More has to come first.
    Nothing,
}

impl Rest {
    /// The next piece of the body out of `ahead`, small ones together. Those stay until there are enough of them, or a larger one
    /// or the end comes, or they are [asked for](Self::gathered).
    fn piece(&mut self, ahead: &mut Bytes) -> Result<Given, Invalid> {
        if let Some(piece) = self.next.take() {
            return Ok(Given::Some(Some(piece)));
        }
        while self.gathered.len() < ENOUGH {
            match self.decoder.next(ahead)? {
                Some(Piece::Data(data)) if self.gathered.is_empty() && self.decoder.is_done() => {
                    return Ok(Given::Some(Some(Piece::Data(data))));
                }
                Some(Piece::Data(data)) if data.len() <= SMALL => self.gathered.extend_from_slice(&data),
                Some(piece) if self.gathered.is_empty() => return Ok(Given::Some(Some(piece))),
                Some(piece) => {
                    self.next = Some(piece);
                    break;
                }
                None if self.decoder.is_done() => return Ok(Given::Some(self.gathered())),
                None => return Ok(Given::Nothing),
            }
        }
        Ok(Given::Some(self.gathered()))
    }

    /// The small pieces so far.
    fn gathered(&mut self) -> Option<Piece> {
        (!self.gathered.is_empty()).then(|| Piece::Data(self.gathered.split().freeze()))
    }

    fn is_over(&self) -> bool {
        self.decoder.is_done() && self.next.is_none() && self.gathered.is_empty()
    }
}

/// What a look at the client's side came to.
enum Came {
    /// Whoever reads the body has more of it.
    Piece,
    /// The client is gone.
    Gone,
}

impl Connection {
    /// The connection over `socket`, whose first bytes are `ahead`. Heads over `largest_head` bytes are refused.
    pub(super) fn new(socket: Socket, ahead: Bytes, state: Arc<ConnectionState>, largest_head: usize) -> Self {
        let reader = Reader::new(largest_head);
        Self {
            socket,
            ahead,
            reader,
            state,
            rest: None,
            is_spoilt: false,
            is_half_closed: false,
            is_answering: false,
            interim: Vec::new(),
        }
    }

    /// Serves `peer` to the connection's end.
    pub(super) async fn run<H: Handler>(mut self, worker: &Worker<H>, peer: IpAddr) {
        loop {
            let head = match poll_fn(|cx| self.poll_next(cx)).await {
                Ok(Some(head)) => head,
                Ok(None) => return self.end().await,
                Err(fault) => {
                    let response = worker.handler.refuse(&self.state, &fault);
                    return self.leave(response).await;
                }
            };
            let (then, tunnel) = self.serve(worker, peer, head).await;
            match then {
                Then::Next => {}
                Then::End => return self.end().await,
                Then::Leave => return self.leave(Bytes::new()).await,
                Then::Cut => return,
            }
            if let Some(tunnel) = tunnel {
                let Self { socket, ahead, state, .. } = self;
                Box::pin(tunnel.run(socket, ahead, Some(&state))).await;
                return;
            }
        }
    }

    /// The next head; none when no request comes any more.
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Head>, Fault>> {
        loop {
            // First of all, so that the waker is known before anything is found to be pending: an order that comes in between
            // would wake nobody.
            let command = self.state.poll_command(cx);
            if command == Command::Cut {
                return Poll::Ready(Ok(None));
            }
            if !self.ahead.is_empty() {
                self.state.reads();
                match self.reader.read(&mut self.ahead) {
                    Ok(None) => {}
                    head => return Poll::Ready(head),
                }
            }
            match read_buffer::poll_read(&mut self.socket, None, cx) {
                Poll::Ready(Ok(bytes)) if !bytes.is_empty() => self.ahead = bytes,
                Poll::Ready(_) => return Poll::Ready(Ok(None)),
                // What had come before an idle connection is closed was read: it could have been a request.
                Poll::Pending if command == Command::Finish && !self.state.is_unfinished() => {
                    return Poll::Ready(Ok(None));
                }
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// Serves one request; with what comes after it is what the connection is from then on, if that is no HTTP.
    async fn serve<H: Handler>(
        &mut self,
        worker: &Worker<H>,
        peer: IpAddr,
        head: Head,
    ) -> (Then, Option<Box<H::Tunnel>>) {
        let Head { parts, body, keeps, expects, takes_trailers } = head;
        self.is_answering = false;
        let is_head = parts.method == Method::HEAD;
        let mut info = RequestInfo { version: parts.version, is_head, takes_trailers, keeps };
        let incoming = self.receive(body, expects);
        // Kept connections end with an answer that says so while it drains, rather than under a request later.
        if worker.state.lifecycle.is_draining() {
            self.state.command(Command::Finish);
        }
        let serving = Arc::clone(&worker.handler).serve(worker.index, Arc::clone(&self.state), peer, parts, incoming);
        let mut serving: Serving<H> = future_pool::room_for::<H>(serving);
        let served = poll_fn(|cx| self.poll_served::<H>(&mut serving, cx)).await;
        let Some(Served { response, tunnel }) = served else { return (Then::Cut, None) };
        future_pool::leave::<H>(serving);
        if tunnel.is_some() {
            self.state.becomes_tunnel();
        }
        self.is_answering = true;
        self.state.answers(response.body.due());
        info.keeps &= self.prepare_next();
        let (outgoing, keeps) = response::outgoing(&self.last_interim(), response, info, is_vouched_for);
        let mut departing = Departing { outgoing, has_left: false };
        let sent = poll_fn(|cx| self.poll_send(&mut departing.outgoing, cx)).await;
        departing.has_left = sent == Then::Next;
        drop(departing);
        self.state.has_answered();
        if sent != Then::Next || tunnel.is_some() {
            return (sent, tunnel);
        }
        (self.after(keeps).await, None)
    }

    /// What follows a response that was sent whole, once nothing of the request is left.
    async fn after(&mut self, keeps: bool) -> Then {
        if self.rest.is_some() {
            if poll_fn(|cx| self.poll_rest(keeps, cx)).await.is_err() {
                return Then::Cut;
            }
            self.state.idles();
        }
        if self.is_spoilt || self.rest.is_some() {
            Then::Leave
        } else if keeps {
            Then::Next
        } else if self.ahead.is_empty() {
            Then::End
        } else {
            Then::Leave
        }
    }

    /// The body that `decoder` finds in what comes.
    fn receive(&mut self, decoder: Decoder, expects: bool) -> Incoming {
        if decoder.is_done() {
            return Incoming::None;
        }
        let (sender, receiver) = channel::channel(&decoder);
        self.rest = Some(Rest { decoder, sender, expects, gathered: BytesMut::new(), next: None });
        // What came with the head need not be asked for.
        self.give();
        Incoming::Http1(receiver)
    }

    fn poll_served<H: Handler>(
        &mut self,
        serving: &mut Serving<H>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Served<H::Body, H::Tunnel>>> {
        loop {
            if self.state.poll_cut(cx).is_ready() {
                return Poll::Ready(None);
            }
            // The handler before the client: it may be what asks for a piece of the body, in this very task.
            if let Poll::Ready(served) = serving.poll(cx) {
                return Poll::Ready(Some(served));
            }
            match self.poll_client(cx) {
                // Whoever reads it is perhaps polled by this task alone, so round again.
                Poll::Ready(Came::Piece) => {}
                Poll::Ready(Came::Gone) => return Poll::Ready(None),
                // Only now: hints are worth no delay of the response.
                Poll::Pending => {
                    return if let Poll::Ready(Err(_)) = self.poll_interim(cx) {
                        Poll::Ready(None)
                    } else {
                        Poll::Pending
                    };
                }
            }
        }
    }

    fn poll_send<B>(&mut self, outgoing: &mut Outgoing<B>, cx: &mut Context<'_>) -> Poll<Then>
    where
        B: Body<Data = Bytes> + Sent + Unpin,
    {
        loop {
            if self.state.poll_cut(cx).is_ready() {
                return Poll::Ready(Then::Cut);
            }
            let (socket, state) = (&mut self.socket, &*self.state);
            let mut socket = Watched { socket, begin: Bytes::new(), state, is_stalled: false };
            let sent = outgoing.poll_send(&mut socket, cx);
            let is_stalled = socket.is_stalled;
            // TLS keeps what the socket beneath did not take.
            let flushed = Pin::new(&mut self.socket).poll_flush(cx);
            self.state.writes(is_stalled || flushed.is_pending());
            match (sent, flushed) {
                (Poll::Ready(Err(Trouble::Connection(_))), _) | (_, Poll::Ready(Err(_))) => {
                    return Poll::Ready(Then::Cut);
                }
                // The client counts, and sees that some is missing.
                (Poll::Ready(Err(Trouble::Body)), _) if outgoing.is_delimited() => return Poll::Ready(Then::End),
                // The end of the connection is the end of this body: only a reset says that it is not whole.
                (Poll::Ready(Err(Trouble::Body)), _) => {
                    will_reset(&self.socket);
                    return Poll::Ready(Then::Cut);
                }
                (Poll::Ready(Ok(())), Poll::Ready(Ok(()))) => return Poll::Ready(Then::Next),
                // The rest is between the client and us: nobody else shall wait for it.
                _ if outgoing.is_ended() => outgoing.body_mut().settle(),
                _ => {}
            }
            // A backend that answers while it still reads needs the rest of the body to come to its end.
            match ready!(self.poll_client(cx)) {
                Came::Piece => {}
                Came::Gone => return Poll::Ready(Then::Cut),
            }
        }
    }

    /// Ready when all of the body has come; or when nobody reads it any more, unless what is left is little and another
    /// request may follow.
    fn poll_rest(&mut self, keeps: bool, cx: &mut Context<'_>) -> Poll<Result<(), ()>> {
        loop {
            if self.state.poll_cut(cx).is_ready() {
                return Poll::Ready(Err(()));
            }
            let Some(rest) = &self.rest else { return Poll::Ready(Ok(())) };
            if rest.sender.demand(cx) != Demand::Abandoned {
                match ready!(self.poll_client(cx)) {
                    Came::Piece => continue,
                    Came::Gone => return Poll::Ready(Err(())),
                }
            }
            if self.skip_rest() || !keeps || !self.can_skip_rest() {
                return Poll::Ready(Ok(()));
            }
            // The client has its answer, and no more time than one that was refused.
            self.state.leaves();
            match ready!(read_buffer::poll_read(&mut self.socket, None, cx)) {
                Ok(bytes) if !bytes.is_empty() => self.ahead = bytes,
                _ => return Poll::Ready(Err(())),
            }
        }
    }

    /// Reads of the body what is wanted. When nothing is due, it sees whether the client leaves: who leaves does not want
    /// its answer.
    fn poll_client(&mut self, cx: &mut Context<'_>) -> Poll<Came> {
        let Some(rest) = &mut self.rest else {
            if !self.ahead.is_empty() || self.is_spoilt || self.is_half_closed {
                return Poll::Pending;
            }
            return match ready!(read_buffer::poll_read(&mut self.socket, None, cx)) {
                Ok(bytes) if !bytes.is_empty() => {
                    // The next request, or the first bytes of a tunnel.
                    self.ahead = bytes;
                    Poll::Pending
                }
                // All of the request came: perhaps the client only says that there is no other.
                Ok(_) => {
                    self.is_half_closed = true;
                    if !self.is_answering {
                        self.state.half_closes();
                    }
                    Poll::Pending
                }
                Err(_) => Poll::Ready(Came::Gone),
            };
        };
        if rest.sender.demand(cx) != Demand::More {
            return Poll::Pending;
        }
        while !self.give() {
            let Some(rest) = &mut self.rest else { break };
            match read_buffer::poll_read(&mut self.socket, rest.decoder.left(), cx) {
                Poll::Ready(Ok(bytes)) if !bytes.is_empty() => self.ahead = bytes,
                Poll::Ready(_) => self.spoil(Reason::ClientClosed),
                Poll::Pending => {
                    if let Some(piece) = rest.gathered() {
                        self.hand_over(Some(piece));
                        break;
                    }
                    if std::mem::take(&mut rest.expects) {
                        self.interim.extend_from_slice(CONTINUE);
                    }
                    return Poll::Pending;
                }
            }
        }
        Poll::Ready(Came::Piece)
    }

    /// Gives the next piece of the body, or its end, to whoever reads it; false when it is still to come.
    fn give(&mut self) -> bool {
        let Some(rest) = &mut self.rest else { return true };
        match rest.piece(&mut self.ahead) {
            Ok(Given::Nothing) => return false,
            Ok(Given::Some(piece)) => self.hand_over(piece),
            Err(Invalid(why)) => {
                tracing::debug!(why, "the body of a request is not valid");
                self.spoil(Reason::BadRequest);
            }
        }
        true
    }

    fn hand_over(&mut self, piece: Option<Piece>) {
        let Some(rest) = &mut self.rest else { return };
        let is_last = rest.is_over();
        rest.sender.give(piece, is_last);
        if is_last {
            self.rest = None;
        }
    }

    /// The rest of the body is lost, for `reason`.
    fn spoil(&mut self, reason: Reason) {
        self.is_spoilt = true;
        if let Some(rest) = self.rest.take() {
            rest.sender.fail(reason);
        }
    }

    /// Makes ready for another request on this connection; whether one may follow, as far as is known when the answer begins.
    fn prepare_next(&mut self) -> bool {
        if self.is_spoilt || self.is_half_closed || self.state.is_ending() {
            return false;
        }
        let Some(rest) = &mut self.rest else { return true };
        // It need not send what it was not asked for (RFC 9110, section 10.1.1), and nobody asks now.
        let expects = std::mem::take(&mut rest.expects);
        !expects && (!rest.sender.is_abandoned() || self.skip_rest() || self.can_skip_rest())
    }

    /// Throws away what has come of a body that nobody reads any more; whether that was all of it.
    fn skip_rest(&mut self) -> bool {
        let Some(rest) = &mut self.rest else { return true };
        (rest.gathered, rest.next) = (BytesMut::new(), None);
        loop {
            match rest.decoder.next(&mut self.ahead) {
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(Invalid(_)) => {
                    self.is_spoilt = true;
                    break;
                }
            }
        }
        if rest.decoder.is_done() {
            self.rest = None;
        }
        self.rest.is_none()
    }

    /// Whether it is worth waiting for the rest of a body that nobody reads.
    fn can_skip_rest(&self) -> bool {
        let left = self.rest.as_ref().map_or(Some(0), |rest| rest.decoder.left());
        !self.is_spoilt && left.is_some_and(|left| left <= MOST_SKIPPED)
    }

    fn poll_interim(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.interim.is_empty() {
            self.interim.extend(self.state.take_interim().into_iter().flatten());
        }
        while !self.interim.is_empty() {
            let written = Pin::new(&mut self.socket).poll_write(cx, &self.interim);
            self.state.writes(written.is_pending());
            let size = ready!(written)?;
            if size == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.interim.drain(..size);
        }
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    /// What is left of informational answers when the final one is there.
    fn last_interim(&mut self) -> Vec<u8> {
        let mut interim = std::mem::take(&mut self.interim);
        interim.extend(self.state.take_interim().into_iter().flatten());
        interim
    }

    /// Says that nothing more is sent.
    async fn end(mut self) {
        self.state.leaves();
        let shut = |cx: &mut Context<'_>| {
            if self.state.poll_cut(cx).is_ready() {
                return Poll::Ready(());
            }
            // A client that is gone need not be told.
            Pin::new(&mut self.socket).poll_shutdown(cx).map(drop)
        };
        poll_fn(shut).await;
    }

    /// Sends `response`, and waits until the client has seen it: to close with unread bytes would reset the connection.
    async fn leave(mut self, response: Bytes) {
        self.state.leaves();
        let mut lingering = LingeringClose::new(response);
        let mut leave = |cx: &mut Context<'_>| {
            if self.state.poll_cut(cx).is_ready() {
                return Poll::Ready(());
            }
            lingering.poll(Pin::new(&mut self.socket), cx)
        };
        poll_fn(|cx| leave(cx)).await;
    }
}
