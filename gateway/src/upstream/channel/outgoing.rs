//! The body of a request on its way over a connection that others share. Servers that count what costs them much and brings little
//! end the whole connection for one client's body (h2 does, after 100 empty frames in its life, or when 2048 small ones wait): so
//! nothing empty goes out, and small pieces go out together, if they come faster than servers bear.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame, SizeHint};
use tokio::sync::oneshot;
use tokio::time::Sleep;

use super::Place;
use crate::message::reason::Reason;
use crate::upstream::body::{Broken, RequestBody};

/// Smaller pieces cost a server more to keep than they bring.
const SMALL: usize = 256;
/// So much goes out at once, at any pace.
const ENOUGH: usize = 16 * 1024;

/// The body of a request.
pub(super) struct Paced {
    body: RequestBody,
    /// Is dropped by the call when that is taken back.
    kept: Option<oneshot::Receiver<()>>,
    /// Has its place as long as its stream may be open.
    place: Arc<Place>,
    /// Something went out. What is first never waits: most calls have one message.
    is_begun: bool,
    /// Small pieces that wait for their turn.
    gathered: BytesMut,
    /// What follows them.
    next: Option<Next>,
    turn: Option<Pin<Box<Sleep>>>,
}

enum Next {
    Frame(Frame<Bytes>),
    End,
    /// Its stream is reset then, and that has its turn, too.
    Broken(Broken),
}

impl Paced {
    /// With what keeps it going, as long as that is not dropped: hyper goes on with a request whose answer nobody takes, and a
    /// client that holds its side open would so hold a place at the backend.
    pub(super) fn new(body: RequestBody, place: &Arc<Place>) -> (Self, Option<oneshot::Sender<()>>) {
        let place = Arc::clone(place);
        let (keeps, kept) = (!body.is_none()).then(oneshot::channel).unzip();
        let (gathered, next, turn) = (BytesMut::new(), None, None);
        (Self { body, kept, place, is_begun: false, gathered, next, turn }, keeps)
    }

    fn is_taken_back(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(kept) = &mut self.kept else { return false };
        let Poll::Ready(kept) = Pin::new(kept).poll(cx) else { return false };
        self.kept = None;
        kept.is_err()
    }

    /// Reads until there is something to send.
    fn poll_gather(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while self.next.is_none() && self.gathered.len() < ENOUGH {
            let frame = match Pin::new(&mut self.body).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => frame,
                Poll::Ready(Some(Err(why))) => {
                    self.gathered.clear();
                    self.turn = self.place.connection.resets.turn().map(tokio::time::sleep).map(Box::pin);
                    self.next = Some(Next::Broken(why));
                    return Poll::Ready(());
                }
                Poll::Ready(None) => {
                    self.next = Some(Next::End);
                    return Poll::Ready(());
                }
                Poll::Pending => return if self.gathered.is_empty() { Poll::Pending } else { self.poll_turn(cx) },
            };
            match frame.into_data() {
                Ok(data) if data.is_empty() => {}
                Ok(data) if self.is_begun && data.len() < SMALL => self.gathered.extend_from_slice(&data),
                Ok(data) => self.next = Some(Next::Frame(Frame::data(data))),
                Err(frame) => self.next = Some(Next::Frame(frame)),
            }
        }
        Poll::Ready(())
    }

    /// Waits until small pieces may go out.
    fn poll_turn(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.turn.is_none() {
            self.turn = self.place.connection.small.turn().map(tokio::time::sleep).map(Box::pin);
        }
        // Who has one looks again when more comes.
        self.turn.as_mut().map_or(Poll::Ready(()), |turn| turn.as_mut().poll(cx))
    }
}

impl From<Paced> for RequestBody {
    fn from(paced: Paced) -> Self {
        paced.body
    }
}

impl Body for Paced {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        if self.is_taken_back(cx) {
            return Poll::Ready(Some(Err(Broken(Reason::ClientClosed))));
        }
        if self.poll_gather(cx).is_pending() {
            return Poll::Pending;
        }
        if !self.gathered.is_empty() {
            self.turn = None;
            return Poll::Ready(Some(Ok(Frame::data(self.gathered.split().freeze()))));
        }
        self.is_begun = true;
        match self.next.take() {
            Some(Next::Frame(frame)) => Poll::Ready(Some(Ok(frame))),
            Some(Next::Broken(why)) => match self.turn.as_mut().map(|turn| turn.as_mut().poll(cx)) {
                Some(Poll::Pending) => {
                    self.next = Some(Next::Broken(why));
                    Poll::Pending
                }
                _ => Poll::Ready(Some(Err(why))),
            },
            Some(Next::End) | None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        let is_sent = self.gathered.is_empty() && self.next.as_ref().is_none_or(|next| matches!(next, Next::End));
        is_sent && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        if self.gathered.is_empty() && self.next.is_none() { self.body.size_hint() } else { SizeHint::default() }
    }
}
