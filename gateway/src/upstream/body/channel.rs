//! A request's body on its way from the connection to whoever reads it, who may be another task: the connection reads a
//! piece when it is asked for one, and never ahead of that.

use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http_body::Frame;
use parking_lot::Mutex;
use shop_http1::{Decoder, Piece};

use super::Broken;
use crate::message::reason::Reason;

/// The two ends of a body that `decoder` delimits.
pub(crate) fn channel(decoder: &Decoder) -> (Sender, Receiver) {
    let shared = Arc::new(Mutex::new(State::default()));
    (Sender(Arc::clone(&shared)), Receiver { shared, left: decoder.left(), is_over: decoder.is_done() })
}

#[derive(Default)]
struct State {
    next: Option<Result<Piece, Reason>>,
    /// Nothing follows `next`.
    is_last: bool,
    /// The reader found nothing and waits. Only then the connection reads on, so that a slow backend slows its client.
    is_wanted: bool,
    is_abandoned: bool,
    sender: Option<Waker>,
    receiver: Option<Waker>,
}

/// What the reader of a body does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Demand {
    /// It has no use for more yet.
    None,
    More,
    /// It is gone.
    Abandoned,
}

/// The connection's end.
pub(crate) struct Sender(Arc<Mutex<State>>);

impl Sender {
    /// What the reader wants; `cx` is woken when that changes.
    pub(crate) fn demand(&self, cx: &Context<'_>) -> Demand {
        let mut state = self.0.lock();
        match &mut state.sender {
            Some(waker) => waker.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
        match (state.is_abandoned, state.is_wanted) {
            (true, _) => Demand::Abandoned,
            (false, true) => Demand::More,
            (false, false) => Demand::None,
        }
    }

    /// Whether nobody reads it any more.
    pub(crate) fn is_abandoned(&self) -> bool {
        self.0.lock().is_abandoned
    }

    /// Gives the next piece, or the end; `is_last` when nothing follows.
    pub(crate) fn give(&self, piece: Option<Piece>, is_last: bool) {
        self.put(piece.map(Ok), is_last);
    }

    /// The rest will never come.
    pub(crate) fn fail(&self, reason: Reason) {
        self.put(Some(Err(reason)), true);
    }

    fn put(&self, next: Option<Result<Piece, Reason>>, is_last: bool) {
        let mut state = self.0.lock();
        state.next = next;
        state.is_last = is_last;
        state.is_wanted = false;
        let receiver = state.receiver.take();
        // In the connection's own task, it is polled anyway.
        let receiver = receiver.filter(|receiver| !state.sender.as_ref().is_some_and(|own| own.will_wake(receiver)));
        // Who is woken on another thread wants the lock at once.
        drop(state);
        if let Some(receiver) = receiver {
            receiver.wake();
        }
    }
}

impl Drop for Sender {
    /// A connection that is gone sends no more.
    fn drop(&mut self) {
        // The lock is let go before `fail` takes it.
        let is_over = self.0.lock().is_last;
        if !is_over {
            self.fail(Reason::ClientClosed);
        }
    }
}

/// The reader's end.
pub(crate) struct Receiver {
    shared: Arc<Mutex<State>>,
    /// Bytes that are still to come, if their number is known.
    left: Option<u64>,
    is_over: bool,
}

impl Receiver {
    pub(super) fn poll_frame(&mut self, cx: &Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        if self.is_over {
            return Poll::Ready(None);
        }
        let mut state = self.shared.lock();
        match state.next.take() {
            Some(next) => {
                self.is_over = state.is_last;
                // Counted here, as the connection's decoder may be a piece ahead of the reader.
                if let (Some(left), Ok(Piece::Data(data))) = (&mut self.left, &next) {
                    *left = left.saturating_sub(u64::try_from(data.len()).unwrap_or(u64::MAX));
                }
                Poll::Ready(Some(match next {
                    Ok(Piece::Data(data)) => Ok(Frame::data(data)),
                    Ok(Piece::Trailers(trailers)) => Ok(Frame::trailers(trailers)),
                    Err(reason) => Err(Broken(reason)),
                }))
            }
            None if state.is_last => {
                self.is_over = true;
                Poll::Ready(None)
            }
            None => {
                state.is_wanted = true;
                state.receiver = Some(cx.waker().clone());
                // In the connection's own task, it looks by itself.
                if let Some(sender) = &state.sender
                    && !sender.will_wake(cx.waker())
                {
                    sender.wake_by_ref();
                }
                Poll::Pending
            }
        }
    }

    pub(super) fn is_end_stream(&self) -> bool {
        self.is_over || {
            let state = self.shared.lock();
            state.is_last && state.next.is_none()
        }
    }

    /// Bytes that are still to come, if their number is known.
    pub(super) fn left(&self) -> Option<u64> {
        self.left
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.is_abandoned = true;
        state.next = None;
        let sender = state.sender.take();
        drop(state);
        if let Some(sender) = sender {
            sender.wake();
        }
    }
}
