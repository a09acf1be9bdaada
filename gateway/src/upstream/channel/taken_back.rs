//! Calls that are taken back: their client left, or their time was over. Each is a reset stream on a connection that others
//! share, and a server that sees many of them at once takes who makes them for an attacker (CVE-2023-44487) and ends every
//! call of his. So over one connection they go out at a pace that servers bear; until its turn a call runs on, for nobody.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::Response;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use tokio::sync::oneshot;

use super::Place;
use super::outgoing::Paced;
use crate::upstream::Caller;

/// What is read of an answer for nobody, which may end by itself meanwhile.
const WORTH_READING: usize = 64 * 1024;

type Outcome = Result<Response<Incoming>, TrySendError<http::Request<Paced>>>;

/// A call that went out. Dropped before its answer is over, it is taken back when that is its turn.
pub(crate) struct Call {
    stage: Stage,
    /// Keeps its body going, if it has one: dropped, it takes that back, too.
    keeps: Option<oneshot::Sender<()>>,
    /// Always there until it is dropped.
    held: Option<(Arc<Place>, Arc<dyn Caller>)>,
}

enum Stage {
    /// Its answer has not begun.
    Asked(Pin<Box<dyn Future<Output = Outcome> + Send>>),
    Answered(Incoming),
    Over,
}

impl Call {
    pub(super) fn new(
        call: impl Future<Output = Outcome> + Send + 'static,
        keeps: Option<oneshot::Sender<()>>,
        place: Arc<Place>,
        caller: Arc<dyn Caller>,
    ) -> Self {
        Self { stage: Stage::Asked(Box::pin(call)), keeps, held: Some((place, caller)) }
    }

    /// The head of its answer. What follows is still here.
    pub(super) async fn response(&mut self) -> Result<Response<()>, TrySendError<http::Request<Paced>>> {
        let Stage::Asked(call) = &mut self.stage else { return std::future::pending().await };
        let outcome = call.as_mut().await;
        self.stage = Stage::Over;
        let (head, body) = outcome?.into_parts();
        self.stage = Stage::Answered(body);
        Ok(Response::from_parts(head, ()))
    }

    /// Waits until it ends by itself; for ever, if its answer is longer than is worth reading.
    async fn end(&mut self) {
        if let Stage::Asked(_) = &self.stage
            && self.response().await.is_err()
        {
            return;
        }
        let mut read = 0;
        while let Stage::Answered(body) = &mut self.stage {
            let Some(Ok(frame)) = body.frame().await else { return };
            read += frame.data_ref().map_or(0, Bytes::len);
            if read > WORTH_READING {
                return std::future::pending().await;
            }
        }
    }

    fn is_over(&self) -> bool {
        match &self.stage {
            Stage::Asked(_) => false,
            Stage::Answered(body) => body.is_end_stream(),
            Stage::Over => true,
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        if self.is_over() {
            // What its client still sends goes on, as long as the backend likes.
            let _ = self.keeps.take().map(|keeps| keeps.send(()));
        }
        // What went on for nobody is dropped at last, and so is all when the worker ends.
        let Some((place, caller)) = self.held.take().filter(|_| !self.is_over()) else { return };
        let Some(wait) = place.connection.resets.turn() else { return };
        if tokio::runtime::Handle::try_current().is_err() {
            return;
        }
        let stage = std::mem::replace(&mut self.stage, Stage::Over);
        let mut call = Self { stage, keeps: self.keeps.take(), held: None };
        let left = Left::new(place, caller);
        shop_runtime::spawn_here(async move {
            let _ = tokio::time::timeout(wait, call.end()).await;
            drop((call, left));
        });
    }
}

impl Body for Call {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<hyper::Result<Frame<Bytes>>>> {
        let Stage::Answered(body) = &mut self.stage else { return Poll::Ready(None) };
        let frame = ready!(Pin::new(body).poll_frame(cx));
        if frame.as_ref().is_none_or(|frame| frame.as_ref().map_or(true, Frame::is_trailers)) {
            self.stage = Stage::Over;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.is_over()
    }

    fn size_hint(&self) -> SizeHint {
        match &self.stage {
            Stage::Answered(body) => body.size_hint(),
            Stage::Asked(_) | Stage::Over => SizeHint::with_exact(0),
        }
    }
}

/// What nobody waits for any more counts as its client's as long as it runs.
struct Left {
    place: Arc<Place>,
    caller: Arc<dyn Caller>,
}

impl Left {
    fn new(place: Arc<Place>, caller: Arc<dyn Caller>) -> Self {
        place.connection.left.fetch_add(1, Relaxed);
        caller.begins();
        Self { place, caller }
    }
}

impl Drop for Left {
    fn drop(&mut self) {
        self.caller.ends();
        self.place.connection.left.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicUsize};
    use std::time::Duration;

    use futures_util::FutureExt as _;
    use futures_util::future::BoxFuture;
    use hyper::client::conn::http2;
    use hyper_util::rt::{TokioExecutor, TokioIo};
    use tokio::sync::Semaphore;

    use super::*;
    use crate::upstream::channel::Connection;
    use crate::upstream::channel::pace::{Pace, RESETS, SMALL};

    #[derive(Default)]
    struct Counted(AtomicUsize);

    impl Caller for Counted {
        fn begins(&self) {
            self.0.fetch_add(1, Relaxed);
        }

        fn ends(&self) {
            self.0.fetch_sub(1, Relaxed);
        }

        fn has_left_some(&self) -> bool {
            self.0.load(Relaxed) > 0
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_waits_for_its_turn_has_its_place_and_counts_as_its_clients() {
        let (io, _other) = tokio::io::duplex(1024);
        let shaken = http2::handshake(TokioExecutor::new(), TokioIo::new(io)).await;
        let Ok((sender, _connection)) = shaken else { panic!("nothing is wanted of the other end") };
        let (streams, is_used) = (AtomicUsize::new(0), AtomicBool::new(true));
        let connection = Arc::new(Connection {
            sender,
            resets: Pace::new(RESETS),
            small: Pace::new(SMALL),
            left: Arc::default(),
            streams,
            is_used,
            refused: Arc::default(),
        });
        let caller = Arc::new(Counted::default());
        let places = Arc::new(Semaphore::new(100));
        let call = |call: BoxFuture<'static, Outcome>| {
            connection.streams.fetch_add(1, Relaxed);
            let permit = Arc::clone(&places).try_acquire_owned().expect("a permit");
            let place = Place { connection: Arc::clone(&connection), waited: None, _permit: permit };
            Call::new(call, None, Arc::new(place), Arc::clone(&caller) as Arc<dyn Caller>)
        };
        let calls: Vec<_> = (0..RESETS.at_once + 3).map(|_| call(std::future::pending().boxed())).collect();
        let held = || (caller.0.load(Relaxed), connection.streams.load(Relaxed), 100 - places.available_permits());
        assert_eq!(held(), (0, 19, 19));
        drop(calls);
        for left in [3, 2, 1, 0] {
            assert_eq!(held(), (left, left, left));
            assert_eq!(connection.left.load(Relaxed), left);
            tokio::time::sleep(RESETS.every + Duration::from_millis(1)).await;
        }
    }
}
