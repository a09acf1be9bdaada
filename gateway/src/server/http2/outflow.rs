//! Answers on their way out over HTTP/2. hyper takes a piece and then waits for its client without asking for more, so the
//! pieces themselves note when they are taken: the worker's sweep gives up a stream of which nothing was taken for too long.

use std::cell::Cell;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use futures_util::task::AtomicWaker;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use parking_lot::Mutex;

use crate::message::headers;
use crate::server::ConnectionState;
use crate::server::handler::Sent;

/// Bytes of answers that wait for the client of one connection at most: half of it is divided among as many streams as may be
/// open, half is for whoever comes first.
const ROOM: usize = 1024 * 1024;
/// Of one answer, so much at most.
pub(in crate::server) const MOST_OF_ONE: usize = 64 * 1024;
/// A frame's worth, unless the client allows more.
const LARGEST_PIECE: usize = 16 * 1024;
/// A piece is not smaller for want of room while others of its answer are on their way.
const LEAST_PIECE: usize = 1024;
/// Of a larger answer the end waits until the client has taken the rest: once hyper has the end, it cannot be reset any more.
/// A smaller one costs no frame more than it must.
const SMALL: usize = 16 * 1024;

thread_local! {
    /// The answer that the stream being polled has begun.
    static BEGUN: Cell<Option<Arc<dyn Flow>>> = const { Cell::new(None) };
}

/// The answer that was begun since this was last asked.
pub(super) fn begun() -> Option<Arc<dyn Flow>> {
    BEGUN.take()
}

/// An answer, as the sweep and its stream's task see it.
pub(super) trait Flow: Send + Sync {
    /// Since when the client takes nothing of what it should, and when it has to have all, in the connection's time; both are
    /// far ahead when there is no such time.
    fn times(&self) -> (u64, u64);

    /// Gives it up; false when hyper has all of it, so that only the connection can be closed.
    fn give_up(&self) -> bool;

    /// Whether it is given up; `cx` is woken when it is, and when there is room again.
    fn is_given_up(&self, cx: &Context<'_>) -> bool;
}

/// The answers of one connection.
pub(crate) struct Flows {
    /// What each may hold, whatever the others do.
    share: usize,
    /// What they hold beyond that.
    beyond: AtomicUsize,
    list: Mutex<Vec<Weak<dyn Flow>>>,
}

impl Flows {
    /// Of a connection with up to `streams` of them.
    pub(crate) fn new(streams: usize) -> Self {
        let share = (ROOM / 2 / streams.max(1)).max(1);
        Self { share, beyond: AtomicUsize::new(0), list: Mutex::default() }
    }

    /// Gives up those that are late by their [`times`](Flow::times): how many, and whether the connection has to end.
    pub(crate) fn look(&self, is_late: impl Fn(u64, u64) -> bool) -> (u64, bool) {
        let (mut given_up, mut has_to_end) = (0, false);
        // Whoever is dropped meanwhile wants the lock.
        let all: Vec<_> = self.list.lock().iter().filter_map(Weak::upgrade).collect();
        for flow in all {
            let (since, due) = flow.times();
            if is_late(since, due) {
                if flow.give_up() {
                    given_up += 1;
                } else {
                    has_to_end = true;
                }
            }
        }
        (given_up, has_to_end)
    }

    /// How much an answer that holds `held` may be given now.
    fn room(&self, held: usize) -> usize {
        let beyond = (ROOM / 2).saturating_sub(self.beyond.load(Relaxed));
        let room = self.share.saturating_sub(held) + beyond;
        let room = room.min(MOST_OF_ONE.saturating_sub(held)).min(LARGEST_PIECE);
        if held > 0 && room < LEAST_PIECE.min(self.share) { 0 } else { room }
    }

    /// An answer holds `after` instead of `before`.
    fn moves(&self, before: usize, after: usize) {
        let of = |held: usize| held.saturating_sub(self.share);
        self.beyond.fetch_add(of(after), Relaxed);
        self.beyond.fetch_sub(of(before), Relaxed);
    }
}

/// What is known of an answer while anything of it is on its way. It keeps the body, and so the record of the request, until
/// the last piece has left.
struct Outflow<B: Sent> {
    connection: Arc<ConnectionState>,
    /// Bytes given to hyper that have not left.
    held: AtomicUsize,
    /// Bytes that were given and will never leave.
    lost: AtomicUsize,
    /// When the client last took some, plus one; 0 when there is nothing to take.
    since: AtomicU64,
    /// When the client has to have all of it.
    due: u64,
    is_given_up: AtomicBool,
    /// All of it is hyper's.
    is_handed_over: AtomicBool,
    /// More waits until some has left.
    waits: AtomicBool,
    waker: AtomicWaker,
    body: Mutex<Option<B>>,
}

impl<B: Sent> Outflow<B> {
    fn flows(&self) -> Option<&Flows> {
        self.connection.flows()
    }

    fn room(&self) -> usize {
        self.flows().map_or(LARGEST_PIECE, |flows| flows.room(self.held.load(Relaxed)))
    }

    fn give(&self, size: usize) {
        let before = self.held.fetch_add(size, Relaxed);
        self.flows().iter().for_each(|flows| flows.moves(before, before + size));
        if before == 0 {
            self.since.store(self.connection.now() + 1, Relaxed);
        }
    }

    fn take(&self, size: usize) {
        let before = self.held.fetch_sub(size, Relaxed);
        let after = before - size;
        self.flows().iter().for_each(|flows| flows.moves(before, after));
        self.since.store(if after == 0 { 0 } else { self.connection.now() + 1 }, Relaxed);
        if after <= MOST_OF_ONE / 2 && self.waits.load(Relaxed) {
            self.waits.store(false, Relaxed);
            self.waker.wake();
        }
    }

    fn wait<T>(&self) -> Poll<T> {
        // The stream's task, which polls it, has registered.
        self.waits.store(true, Relaxed);
        Poll::Pending
    }
}

impl<B: Sent + Send> Flow for Outflow<B> {
    fn times(&self) -> (u64, u64) {
        (self.since.load(Relaxed).checked_sub(1).unwrap_or(u64::MAX), self.due)
    }

    fn give_up(&self) -> bool {
        let can = !self.is_handed_over.load(Relaxed);
        if can && !self.is_given_up.swap(true, Relaxed) {
            self.waker.wake();
        }
        can
    }

    fn is_given_up(&self, cx: &Context<'_>) -> bool {
        self.waker.register(cx.waker());
        self.is_given_up.load(Relaxed)
    }
}

impl<B: Sent> Drop for Outflow<B> {
    fn drop(&mut self) {
        let lost = *self.lost.get_mut();
        if let Some(body) = self.body.get_mut().as_mut().filter(|_| lost > 0) {
            body.lost(lost);
        }
        let own = std::ptr::from_ref(self).addr();
        if let Some(flows) = self.connection.flows() {
            flows.list.lock().retain(|flow| flow.as_ptr().addr() != own);
        }
    }
}

/// A piece of an answer, as hyper holds it.
pub(crate) struct Piece<B: Sent> {
    bytes: Bytes,
    outflow: Arc<Outflow<B>>,
}

impl<B: Sent> Buf for Piece<B> {
    fn remaining(&self) -> usize {
        self.bytes.len()
    }

    fn chunk(&self) -> &[u8] {
        &self.bytes
    }

    fn advance(&mut self, size: usize) {
        self.bytes.advance(size);
        self.outflow.take(size);
    }
}

impl<B: Sent> Drop for Piece<B> {
    fn drop(&mut self) {
        let lost = self.bytes.len();
        if lost > 0 {
            self.outflow.lost.fetch_add(lost, Relaxed);
            self.outflow.take(lost);
        }
    }
}

/// The body of an answer, given to hyper in pieces of which no more are on their way than there is room for.
pub(crate) struct Answer<B: Sent> {
    /// It goes to the outflow in the end.
    body: Option<B>,
    outflow: Arc<Outflow<B>>,
    /// Of the latest piece, what there was no room for.
    rest: Bytes,
    trailers: Option<HeaderMap>,
    /// Nothing more comes of the body.
    is_over: bool,
    given: usize,
}

impl<B: Body<Data = Bytes> + Sent + Send + Unpin + 'static> Answer<B> {
    /// The answer `body` over `connection`, begun in the task of its stream.
    pub(super) fn new(body: B, connection: Arc<ConnectionState>) -> Self {
        let is_over = body.is_end_stream();
        let due = body.due().map_or(u64::MAX, |due| connection.at(due));
        let outflow = Arc::new(Outflow {
            connection,
            due,
            held: AtomicUsize::new(0),
            lost: AtomicUsize::new(0),
            since: AtomicU64::new(0),
            is_given_up: AtomicBool::new(false),
            is_handed_over: AtomicBool::new(false),
            waits: AtomicBool::new(false),
            waker: AtomicWaker::new(),
            body: Mutex::new(None),
        });
        if !is_over {
            let flow: Arc<dyn Flow> = Arc::<Outflow<B>>::clone(&outflow);
            outflow.flows().iter().for_each(|flows| flows.list.lock().push(Arc::downgrade(&flow)));
            BEGUN.set(Some(flow));
        }
        Self { body: Some(body), outflow, rest: Bytes::new(), trailers: None, is_over, given: 0 }
    }

    /// Whether its end may go out behind what has not left yet.
    fn may_end(&self) -> bool {
        self.given <= SMALL || self.outflow.held.load(Relaxed) == 0
    }
}

impl<B: Body<Data = Bytes> + Sent + Send + Unpin + 'static> Body for Answer<B> {
    type Data = Piece<B>;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let this = &mut *self;
        while this.rest.is_empty() && !this.is_over {
            let Some(body) = &mut this.body else { break };
            match ready!(Pin::new(&mut *body).poll_frame(cx)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => this.rest = data,
                    Err(frame) => {
                        this.trailers = frame.into_trailers().ok();
                        this.trailers.as_mut().into_iter().for_each(headers::trim_trailers);
                        this.is_over = true;
                    }
                },
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => this.is_over = true,
            }
            this.is_over |= body.is_end_stream();
        }
        if !this.rest.is_empty() {
            let room = this.outflow.room();
            if room == 0 {
                return this.outflow.wait();
            }
            let bytes = this.rest.split_to(room.min(this.rest.len()));
            this.given += bytes.len();
            this.outflow.give(bytes.len());
            return Poll::Ready(Some(Ok(Frame::data(Piece { bytes, outflow: Arc::clone(&this.outflow) }))));
        }
        if !this.may_end() {
            if let Some(body) = &mut this.body {
                body.settle();
            }
            return this.outflow.wait();
        }
        Poll::Ready(this.trailers.take().map(|trailers| Ok(Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        self.is_over && self.rest.is_empty() && self.trailers.is_none() && self.may_end()
    }

    fn size_hint(&self) -> SizeHint {
        // Asked once, before the first piece.
        self.body.as_ref().map(B::size_hint).unwrap_or_default()
    }
}

impl<B: Sent> Drop for Answer<B> {
    fn drop(&mut self) {
        self.outflow.is_handed_over.store(true, Relaxed);
        let Some(mut body) = self.body.take() else { return };
        if self.is_over && self.rest.is_empty() {
            body.settle();
        }
        let unsent = self.rest.len();
        if unsent > 0 {
            self.outflow.lost.fetch_add(unsent, Relaxed);
        }
        *self.outflow.body.lock() = Some(body);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn however_many_answers_wait_they_hold_no_more_than_their_connection_may() {
        for streams in [1, 7, 200, 5000] {
            let flows = Flows::new(streams);
            let mut held = vec![0; streams];
            let mut moved = true;
            while std::mem::take(&mut moved) {
                for one in &mut held {
                    let room = flows.room(*one);
                    flows.moves(*one, *one + room);
                    *one += room;
                    moved |= room > 0;
                }
            }
            assert!(held.iter().sum::<usize>() <= ROOM, "{streams}");
            assert!(held.iter().all(|one| (1..=MOST_OF_ONE).contains(one)), "{streams}: each has some");
            for one in &held {
                flows.moves(*one, 0);
            }
            assert_eq!(flows.beyond.load(Relaxed), 0);
        }
    }
}
