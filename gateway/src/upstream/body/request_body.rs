//! A request's body, streamed to the backend as it comes, with a limit on its size and on its pauses.

use std::future::poll_fn;
use std::io;
use std::path::Path;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use shop_http1::PutBack;
use tokio::sync::oneshot;
use tokio::time::{Instant, Sleep};

use super::spilled::Spilled;
use super::{Broken, Incoming, Kept};
use crate::message::reason::Reason;
use crate::upstream::timer;

/// A request's body; costs nothing when there is none.
pub(crate) struct RequestBody(Source);

enum Source {
    None,
    /// From the client.
    Stream(Box<Stream>),
    /// From memory; then what the client still sends.
    Again(Box<Again>),
}

/// What was read before, or has gone out before.
#[derive(Default)]
struct Again {
    /// The next one last, so that one that could not be written can be put back without moving the others.
    pieces: Vec<Bytes>,
    /// What is being read ahead, copied: a piece holds all of the memory that it was read into.
    ahead: BytesMut,
    /// After the pieces.
    file: Option<(Spilled, Arc<Progress>)>,
    /// After both, when nothing else is to come.
    trailers: Option<HeaderMap>,
    rest: Option<Box<Stream>>,
}

/// What the client sends.
pub(super) struct Stream {
    incoming: Incoming,
    left: u64,
    longest_pause: Option<Duration>,
    timer: Option<Pin<Box<Sleep>>>,
    progress: Arc<Progress>,
    drops_trailers: bool,
    kept: Option<Arc<Kept>>,
    /// Who gets a copy when it is whole.
    copy: Option<Box<Copied>>,
}

/// What is copied of a body as it comes. Given up, it leaves whoever waits for it without one.
struct Copied {
    bytes: BytesMut,
    limit: usize,
    whole: oneshot::Sender<Option<Bytes>>,
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

    /// A piece was handed to the backend, or came.
    fn moves(&self) {
        let since = self.begun.elapsed().as_millis();
        self.latest.store(u64::try_from(since).unwrap_or(u64::MAX), Relaxed);
    }

    fn fail(&self, reason: Reason) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        self.broken.store(reason.index() + 1, Relaxed);
        Poll::Ready(Some(Err(Broken(reason))))
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
        let stream = Stream {
            incoming,
            left: limit,
            longest_pause,
            timer: None,
            progress,
            drops_trailers: false,
            kept: None,
            copy: None,
        };
        Self(Source::Stream(Box::new(stream)))
    }

    /// Ends it before its trailers. Nothing of it was read yet.
    pub(crate) fn drop_trailers(&mut self) {
        if let Source::Stream(stream) = &mut self.0 {
            stream.drops_trailers = true;
        }
    }

    /// All of it, in memory.
    pub(crate) fn whole(bytes: Bytes) -> Self {
        if bytes.is_empty() { Self::none() } else { Self::again(vec![bytes], None) }
    }

    /// A copy for somebody else, once it is whole, or nothing when it turns out to be longer than `limit`; an error when it breaks
    /// off. None when it is known to be longer, or was read before. It costs memory up to the limit, and never time.
    pub(crate) fn copy(&mut self, limit: usize) -> Option<oneshot::Receiver<Option<Bytes>>> {
        if usize::try_from(self.size_hint().lower()).map_or(true, |size| size > limit) {
            return None;
        }
        let Source::Stream(stream) = &mut self.0 else { return None };
        let (whole, copy) = oneshot::channel();
        stream.copy = Some(Box::new(Copied { bytes: BytesMut::new(), limit, whole }));
        Some(copy)
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
            Source::Stream(stream) => Some(Arc::clone(&stream.progress)),
            Source::Again(again) => again.rest.as_ref().map(|stream| Arc::clone(&stream.progress)),
            Source::None => None,
        }
    }

    /// Whether all of it is there, so that only the backend decides how long it takes from here on.
    pub(crate) fn is_whole(&self) -> bool {
        self.progress().is_none_or(|progress| progress.has_ended())
    }

    /// Reads up to `most` bytes ahead, for `longest` at most, unless it is known to be longer; so that what is small is whole
    /// before a backend is asked. What was read goes out from memory.
    pub(crate) async fn gather(&mut self, most: usize, longest: Duration) -> Result<(), Broken> {
        if usize::try_from(self.size_hint().lower()).map_or(true, |size| size > most) {
            return Ok(());
        }
        let stream = match std::mem::replace(&mut self.0, Source::None) {
            Source::Stream(stream) => stream,
            other => {
                self.0 = other;
                return Ok(());
            }
        };
        let mut again = Box::new(Again { rest: Some(stream), ..Again::default() });
        let read = timer::until(Instant::now() + longest, pin!(again.read_ahead(most))).await;
        again.keep_ahead();
        self.0 = Source::Again(again);
        read.unwrap_or(Ok(()))
    }

    /// Reads all of it, before `end`: up to `memory` bytes stay there, the rest goes to a file in `folder`. Without a folder
    /// the rest is left where it is.
    pub(crate) async fn buffer(
        &mut self,
        memory: usize,
        folder: Option<&Path>,
        end: Option<Instant>,
    ) -> Result<(), Broken> {
        let Some(progress) = self.progress() else { return Ok(()) };
        let Source::Stream(stream) = std::mem::replace(&mut self.0, Source::None) else { return Ok(()) };
        let mut again = Box::new(Again { rest: Some(stream), ..Again::default() });
        let reading = async {
            again.read_ahead(memory).await?;
            again.keep_ahead();
            match folder.filter(|_| again.rest.is_some()) {
                Some(folder) => again.spill(folder, &progress).await,
                None => Ok(()),
            }
        };
        let read = match end {
            Some(end) => timer::until(end, pin!(reading)).await.unwrap_or(Err(Broken(Reason::BodyTimeout))),
            None => reading.await,
        };
        self.0 = Source::Again(again);
        read
    }

    /// A body of which `pieces` went out before.
    pub(super) fn again(mut pieces: Vec<Bytes>, rest: Option<Box<Stream>>) -> Self {
        pieces.reverse();
        Self(Source::Again(Box::new(Again { pieces, rest, ..Again::default() })))
    }

    /// Keeps what goes out from now on; none when it is known to be longer than `limit`.
    pub(crate) fn keep(&mut self, limit: usize) -> Option<Arc<Kept>> {
        if usize::try_from(self.size_hint().lower()).map_or(true, |size| size > limit) {
            return None;
        }
        let kept = Arc::new(Kept::new(limit));
        let stream = match &mut self.0 {
            Source::Stream(stream) => Some(stream),
            Source::Again(again) if again.trailers.is_none() && again.file.is_none() => {
                again.pieces.iter().rev().for_each(|piece| kept.push(piece));
                again.rest.as_mut()
            }
            Source::Again(_) | Source::None => return None,
        };
        match stream {
            Some(stream) => stream.kept = Some(Arc::clone(&kept)),
            None => kept.end(),
        }
        Some(kept)
    }
}

impl Again {
    /// What was read ahead goes out first.
    fn keep_ahead(&mut self) {
        self.pieces.extend(Some(self.ahead.split().freeze()).filter(|ahead| !ahead.is_empty()));
    }

    /// Reads on until there are `most` bytes, or all.
    async fn read_ahead(&mut self, most: usize) -> Result<(), Broken> {
        let mut size = 0;
        while size < most
            && let Some(rest) = &mut self.rest
        {
            let next = poll_fn(|cx| rest.poll(cx)).await.transpose()?;
            if rest.progress.has_ended() {
                self.rest = None;
            }
            match next.map(Frame::into_data) {
                Some(Ok(data)) => {
                    size += data.len();
                    self.ahead.extend_from_slice(&data);
                }
                Some(Err(frame)) => self.trailers = frame.into_trailers().ok(),
                None => self.rest = None,
            }
        }
        Ok(())
    }

    /// Reads all that is still to come into a file.
    async fn spill(&mut self, folder: &Path, progress: &Arc<Progress>) -> Result<(), Broken> {
        let mut file = Spilled::within(folder).await.map_err(|error| no_room(&error))?;
        while let Some(rest) = &mut self.rest {
            let next = poll_fn(|cx| rest.poll(cx)).await.transpose()?;
            if rest.progress.has_ended() {
                self.rest = None;
            }
            match next.map(Frame::into_data) {
                Some(Ok(data)) => file.write(&data).await.map_err(|error| no_room(&error))?,
                Some(Err(frame)) => self.trailers = frame.into_trailers().ok(),
                None => self.rest = None,
            }
        }
        file.rewind().await.map_err(|error| no_room(&error))?;
        self.file = Some((file, Arc::clone(progress)));
        Ok(())
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        if let Some(piece) = self.pieces.pop() {
            return Poll::Ready(Some(Ok(Frame::data(piece))));
        }
        if let Some((file, progress)) = &mut self.file {
            match ready!(file.poll_piece(cx)) {
                Some(Ok(piece)) => {
                    progress.moves();
                    return Poll::Ready(Some(Ok(Frame::data(piece))));
                }
                Some(Err(error)) => {
                    let Broken(reason) = no_room(&error);
                    return progress.fail(reason);
                }
                None => self.file = None,
            }
        }
        match &mut self.rest {
            Some(rest) => rest.poll(cx),
            None => Poll::Ready(self.trailers.take().map(|trailers| Ok(Frame::trailers(trailers)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        let is_read = self.file.as_ref().is_none_or(|(file, _)| file.left() == 0);
        self.pieces.is_empty()
            && is_read
            && self.trailers.is_none()
            && self.rest.as_ref().is_none_or(|rest| rest.incoming.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        let here = self.pieces.iter().map(Bytes::len).sum::<usize>();
        let file = self.file.as_ref().map_or(0, |(file, _)| file.left());
        let here = u64::try_from(here).unwrap_or(u64::MAX).saturating_add(file);
        let rest = self.rest.as_ref().map_or_else(|| SizeHint::with_exact(0), |rest| rest.incoming.size_hint());
        let mut hint = SizeHint::new();
        hint.set_lower(here.saturating_add(rest.lower()));
        if let Some(rest) = rest.exact() {
            hint.set_exact(here.saturating_add(rest));
        }
        hint
    }
}

impl Stream {
    fn fail(&self, reason: Reason) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        self.progress.fail(reason)
    }

    fn end(&mut self) {
        self.progress.ended.store(true, Relaxed);
        if let Some(copy) = self.copy.take() {
            // Whoever wanted it may be gone.
            let _ = copy.whole.send(Some(copy.bytes.freeze()));
        }
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
        self.progress.moves();
        let frame = match next {
            Some(Ok(frame)) if !(self.drops_trailers && frame.is_trailers()) => frame,
            Some(Err(Broken(reason))) => return self.fail(reason),
            _ => {
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
        if let Some(copy) = &mut self.copy {
            match frame.data_ref() {
                Some(data) if copy.bytes.len() + data.len() <= copy.limit => copy.bytes.extend_from_slice(data),
                Some(_) => drop(self.copy.take().map(|copy| copy.whole.send(None))),
                // The copy does without trailers.
                None => {}
            }
        }
        if let Some(kept) = &self.kept {
            match frame.data_ref() {
                Some(data) => kept.push(data),
                // Trailers are not worth keeping.
                None => kept.give_up(),
            }
        }
        // Whoever knows the length does not ask for the end, which may come after all of the length.
        if self.incoming.is_end_stream() || self.incoming.size_hint().exact() == Some(0) {
            self.end();
        }
        Poll::Ready(Some(Ok(frame)))
    }
}

/// A body cannot be kept: that is nobody's fault but this machine's.
fn no_room(error: &io::Error) -> Broken {
    tracing::warn!(error = error.to_string(), "the body of a request cannot be kept in buffer_request.folder");
    Broken(Reason::GatewayExhausted)
}

impl PutBack for RequestBody {
    fn put_back(&mut self, piece: Bytes) {
        let mut again = match std::mem::replace(&mut self.0, Source::None) {
            Source::Again(again) => again,
            Source::Stream(stream) => Box::new(Again { rest: Some(stream), ..Again::default() }),
            Source::None => Box::default(),
        };
        again.pieces.push(piece);
        self.0 = Source::Again(again);
    }
}

impl Drop for RequestBody {
    /// What has not gone out can still go out elsewhere.
    fn drop(&mut self) {
        let stream = match std::mem::replace(&mut self.0, Source::None) {
            Source::Stream(stream) => Some(stream),
            Source::Again(again) => again.rest,
            Source::None => None,
        };
        if let Some(mut stream) = stream
            && let Some(kept) = stream.kept.take()
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
            Source::Again(again) => again.poll(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Source::None => true,
            Source::Stream(stream) => stream.incoming.is_end_stream(),
            Source::Again(again) => again.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Source::None => SizeHint::with_exact(0),
            Source::Stream(stream) => stream.incoming.size_hint(),
            Source::Again(again) => again.size_hint(),
        }
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;
    use shop_http1::{Decoder, Piece};

    use super::super::channel::{Demand, Sender, channel};
    use super::*;

    const WHILE: Duration = Duration::from_secs(1);

    /// A body that its other end sends piece by piece.
    fn body() -> (Sender, RequestBody) {
        let (sender, receiver) = channel(&Decoder::chunked());
        (sender, RequestBody::new(Incoming::Http1(receiver), u64::MAX, None))
    }

    fn piece(bytes: &'static [u8]) -> Piece {
        Piece::Data(Bytes::from_static(bytes))
    }

    /// Gives the pieces one after the other, each when it is wanted.
    async fn send(sender: &Sender, pieces: impl IntoIterator<Item = (Option<Piece>, bool)>) {
        for (piece, is_last) in pieces {
            poll_fn(|cx| {
                if sender.demand(cx) == Demand::More {
                    return Poll::Ready(());
                }
                cx.waker().wake_by_ref();
                Poll::Pending
            })
            .await;
            sender.give(piece, is_last);
            // In the reader's own task nobody is woken for it.
            tokio::task::yield_now().await;
        }
    }

    async fn text(body: RequestBody) -> String {
        let whole = body.collect().await.expect("is whole");
        let trailers = whole.trailers().map(|trailers| format!(" {trailers:?}")).unwrap_or_default();
        String::from_utf8_lossy(&whole.to_bytes()).into_owned() + &trailers
    }

    #[tokio::test(start_paused = true)]
    async fn a_small_body_is_whole_before_it_goes_out_and_can_go_out_again() {
        let (sender, mut body) = body();
        let sent = send(&sender, [(Some(piece(b"ab")), false), (Some(piece(b"cd")), false), (None, true)]);
        let (gathered, ()) = tokio::join!(body.gather(100, WHILE), sent);
        gathered.expect("comes whole");
        assert!(body.is_whole() && !body.is_none());
        assert_eq!(body.size_hint().exact(), Some(4));
        let kept = body.keep(100).expect("is small");
        let first = body.frame().await.expect("a piece").expect("a piece").into_data().expect("data");
        // Together, in memory of its own.
        assert_eq!(first, "abcd");
        body.put_back(first);
        assert_eq!(text(body).await, "abcd");
        assert_eq!(text(kept.again().expect("is whole")).await, "abcd");
    }

    #[tokio::test(start_paused = true)]
    async fn of_a_slow_body_what_came_goes_out_first() {
        let (sender, mut body) = body();
        let (gathered, ()) = tokio::join!(
            body.gather(100, WHILE),
            send(&sender, [(Some(piece(b"ab")), false), (Some(piece(b"cd")), false)])
        );
        gathered.expect("is not broken");
        assert!(!body.is_whole());
        assert_eq!((body.size_hint().lower(), body.size_hint().exact()), (4, None));
        let kept = body.keep(100).expect("is small so far");
        let rest = send(&sender, [(Some(piece(b"ef")), true)]);
        let (sent, ()) = tokio::join!(text(body), rest);
        assert_eq!(sent, "abcdef");
        assert_eq!(text(kept.again().expect("is whole now")).await, "abcdef");
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_is_read_ahead_than_is_wanted_and_trailers_are_not_lost() {
        let (sender, mut body) = body();
        let (gathered, ()) = tokio::join!(
            body.gather(3, WHILE),
            send(&sender, [(Some(piece(b"ab")), false), (Some(piece(b"cd")), false)])
        );
        gathered.expect("is not broken");
        assert!(!body.is_whole());
        let rest = send(&sender, [(Some(piece(b"ef")), true)]);
        assert_eq!(tokio::join!(text(body), rest).0, "abcdef");

        let (sender, mut body) = self::body();
        let trailers = HeaderMap::from_iter([(http::header::ETAG, http::HeaderValue::from_static("x"))]);
        let sent = send(&sender, [(Some(piece(b"ab")), false), (Some(Piece::Trailers(trailers)), true)]);
        tokio::join!(body.gather(100, WHILE), sent).0.expect("comes whole");
        assert!(body.is_whole() && body.keep(100).is_none(), "trailers are not kept");
        assert_eq!(text(body).await, r#"ab {"etag": "x"}"#);
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_breaks_off_is_not_sent() {
        let (sender, mut body) = body();
        let breaks = async {
            send(&sender, [(Some(piece(b"ab")), false)]).await;
            sender.fail(Reason::ClientClosed);
        };
        let (gathered, ()) = tokio::join!(body.gather(100, WHILE), breaks);
        assert_eq!(gathered.expect_err("broke off").0, Reason::ClientClosed);
    }
}
