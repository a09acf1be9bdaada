//! A request's body, streamed to the backend as it comes, with a limit on its size and on its pauses.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use shop_http1::PutBack;
use tokio::time::{Instant, Sleep};

use super::{Broken, Incoming, Kept};
use crate::message::reason::Reason;

/// A request's body; costs nothing when there is none.
pub(crate) struct RequestBody(Source);

enum Source {
    None,
    /// From the client.
    Stream(Box<Stream>),
    /// From memory, the next piece last; then what the client still sends.
    Again(Vec<Bytes>, Option<Box<Stream>>),
}

/// What the client sends.
pub(super) struct Stream {
    incoming: Incoming,
    left: u64,
    longest_pause: Option<Duration>,
    timer: Option<Pin<Box<Sleep>>>,
    progress: Arc<Progress>,
    kept: Option<Arc<Kept>>,
}

/// How far an [`RequestBody`] has come, for whoever waits for the backend's answer.
pub(crate) struct Progress {
    begun: Instant,
    /// Milliseconds from `begun` to the latest piece.
    latest: AtomicU64,
    bytes: AtomicU64,
    /// 1 + index of the [`Reason`] it broke off with; 0 while it is whole.
    broken: AtomicUsize,
    /// All of it came.
    ended: AtomicBool,
}

impl Progress {
    /// When the latest piece of the body was handed to the backend.
    pub(crate) fn latest(&self) -> Instant {
        self.begun + Duration::from_millis(self.latest.load(Relaxed))
    }

    /// Why the body broke off, if it did.
    pub(crate) fn broken(&self) -> Option<Reason> {
        Reason::ALL.get(self.broken.load(Relaxed).checked_sub(1)?).copied()
    }

    /// Whether all of the body was handed to the backend.
    pub(crate) fn has_ended(&self) -> bool {
        self.ended.load(Relaxed)
    }

    /// Bytes of the body so far.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Relaxed)
    }
}

impl RequestBody {
    /// No body.
    pub(crate) const fn none() -> Self {
        Self(Source::None)
    }

    /// `incoming` as far as `limit` bytes, with pauses up to `longest_pause`.
    pub(crate) fn new(incoming: Incoming, limit: u64, longest_pause: Option<Duration>) -> Self {
        if incoming.is_end_stream() {
            return Self::none();
        }
        let progress = Progress {
            begun: Instant::now(),
            latest: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            broken: AtomicUsize::new(0),
            ended: AtomicBool::new(false),
        };
        let progress = Arc::new(progress);
        let stream = Stream { incoming, left: limit, longest_pause, timer: None, progress, kept: None };
        Self(Source::Stream(Box::new(stream)))
    }

    /// Whether there is no body.
    pub(crate) const fn is_none(&self) -> bool {
        matches!(self.0, Source::None)
    }

    /// Whether there is one, and nobody said how long it is.
    pub(crate) fn is_unsized(&self) -> bool {
        !self.is_none() && self.size_hint().exact().is_none()
    }

    /// Where to watch it from; nothing to watch without a body.
    pub(crate) fn progress(&self) -> Option<Arc<Progress>> {
        match &self.0 {
            Source::Stream(stream) | Source::Again(_, Some(stream)) => Some(Arc::clone(&stream.progress)),
            Source::None | Source::Again(..) => None,
        }
    }

    /// A body of which `pieces` went out before.
    pub(super) fn again(mut pieces: Vec<Bytes>, rest: Option<Box<Stream>>) -> Self {
        // Taken from the end, so that a piece that could not be written can be put back without moving the others.
        pieces.reverse();
        Self(Source::Again(pieces, rest))
    }

    /// Keeps what goes out from now on; none when it is known to be longer than `limit`.
    pub(crate) fn keep(&mut self, limit: usize) -> Option<Arc<Kept>> {
        let Source::Stream(stream) = &mut self.0 else { return None };
        if usize::try_from(stream.incoming.size_hint().lower()).map_or(true, |size| size > limit) {
            return None;
        }
        Some(Arc::clone(stream.kept.insert(Arc::new(Kept::new(limit)))))
    }
}

impl Stream {
    fn fail(&self, reason: Reason) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        self.progress.broken.store(reason.index() + 1, Relaxed);
        Poll::Ready(Some(Err(Broken(reason))))
    }

    fn end(&self) {
        self.progress.ended.store(true, Relaxed);
        self.kept.iter().for_each(|kept| kept.end());
    }

    fn poll_pause(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(longest) = self.longest_pause else { return Poll::Pending };
        let due = self.progress.latest() + longest;
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(due)));
        // Pieces only note when they came. The timer is moved here, where somebody waits: once a pause, not once a piece.
        if timer.deadline() != due {
            timer.as_mut().reset(due);
        }
        timer.as_mut().poll(cx)
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        // The body first: a piece that is there counts, even if the pause before it was too long.
        let Poll::Ready(next) = Pin::new(&mut self.incoming).poll_frame(cx) else {
            ready!(self.poll_pause(cx));
            return self.fail(Reason::BodyTimeout);
        };
        let since = self.progress.begun.elapsed().as_millis();
        self.progress.latest.store(u64::try_from(since).unwrap_or(u64::MAX), Relaxed);
        let frame = match next {
            Some(Ok(frame)) => frame,
            Some(Err(Broken(reason))) => return self.fail(reason),
            None => {
                self.end();
                return Poll::Ready(None);
            }
        };
        if let Some(data) = frame.data_ref() {
            let size = u64::try_from(data.len()).unwrap_or(u64::MAX);
            let Some(left) = self.left.checked_sub(size) else { return self.fail(Reason::BodyTooLarge) };
            self.left = left;
            self.progress.bytes.fetch_add(size, Relaxed);
        }
        if let Some(kept) = &self.kept {
            match frame.data_ref() {
                Some(data) => kept.push(data),
                // Trailers are not worth keeping.
                None => kept.give_up(),
            }
        }
        // Whoever knows the length does not ask for the end.
        if self.incoming.is_end_stream() {
            self.end();
        }
        Poll::Ready(Some(Ok(frame)))
    }
}

impl PutBack for RequestBody {
    fn put_back(&mut self, piece: Bytes) {
        match &mut self.0 {
            Source::Again(pieces, _) => pieces.push(piece),
            Source::Stream(_) => {
                if let Source::Stream(stream) = std::mem::replace(&mut self.0, Source::None) {
                    self.0 = Source::Again(vec![piece], Some(stream));
                }
            }
            Source::None => self.0 = Source::Again(vec![piece], None),
        }
    }
}

impl Drop for RequestBody {
    /// What has not gone out can still go out elsewhere.
    fn drop(&mut self) {
        if let Source::Stream(stream) = &mut self.0
            && let Some(kept) = stream.kept.take()
            && let Source::Stream(stream) = std::mem::replace(&mut self.0, Source::None)
        {
            kept.leave(stream);
        }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        match &mut self.0 {
            Source::None => Poll::Ready(None),
            Source::Stream(stream) => stream.poll(cx),
            Source::Again(pieces, rest) => match (pieces.pop(), rest) {
                (Some(piece), _) => Poll::Ready(Some(Ok(Frame::data(piece)))),
                (None, Some(rest)) => rest.poll(cx),
                (None, None) => Poll::Ready(None),
            },
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Source::None => true,
            Source::Stream(stream) => stream.incoming.is_end_stream(),
            Source::Again(pieces, rest) => {
                pieces.is_empty() && rest.as_ref().is_none_or(|rest| rest.incoming.is_end_stream())
            }
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Source::None => SizeHint::with_exact(0),
            Source::Stream(stream) => stream.incoming.size_hint(),
            Source::Again(_, Some(_)) => SizeHint::default(),
            Source::Again(pieces, None) => {
                let size: usize = pieces.iter().map(Bytes::len).sum();
                SizeHint::with_exact(u64::try_from(size).unwrap_or(u64::MAX))
            }
        }
    }
}
