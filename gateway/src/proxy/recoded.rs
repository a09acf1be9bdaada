//! An answer's body that the client gets in another form than the backend sent it.

use std::io;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::HeaderMap;
use http_body::Frame;

use super::compress::Encoder;
use super::grpc_web::Framer;
use crate::message::reason::Reason;
use crate::upstream::body::Broken;

/// So much is recoded at once: a worker has others to see to.
const MOST_AT_ONCE: usize = 16 * 1024;

type Next = Option<Result<Frame<Bytes>, Broken>>;

/// What writes a body anew.
pub(crate) enum Recoder {
    Compress(Encoder),
    Web(Framer),
}

/// A body in another form. It reads on only when all that it has was taken, so that a slow client slows the backend.
pub(crate) struct Recoded {
    recoder: Recoder,
    /// Came and was not looked at.
    input: Bytes,
    output: Bytes,
    trailers: Option<HeaderMap>,
    /// Something may be kept back.
    is_behind: bool,
    is_finished: bool,
    /// It cannot be written anew.
    has_failed: bool,
}

impl Recoded {
    /// A body that `recoder` writes anew.
    pub(super) fn new(recoder: Recoder) -> Box<Self> {
        Box::new(Self {
            recoder,
            input: Bytes::new(),
            output: Bytes::new(),
            trailers: None,
            is_behind: false,
            is_finished: false,
            has_failed: false,
        })
    }

    /// Whether all of it was taken.
    pub(super) fn is_over(&self) -> bool {
        self.is_finished && self.output.is_empty() && self.trailers.is_none()
    }

    /// Whether it broke off here.
    pub(super) fn has_failed(&self) -> bool {
        self.has_failed
    }

    /// The next frame of what `incoming` has. What came is let out when there is nothing more for now: an event is of no use
    /// to anybody in here.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        mut incoming: impl FnMut(&mut Context<'_>) -> Poll<Next>,
    ) -> Poll<Next> {
        loop {
            if !self.output.is_empty() {
                return Poll::Ready(Some(Ok(Frame::data(std::mem::take(&mut self.output)))));
            }
            if self.is_finished {
                return Poll::Ready(self.trailers.take().map(|trailers| Ok(Frame::trailers(trailers))));
            }
            let step = if self.input.is_empty() {
                match incoming(cx) {
                    Poll::Pending if self.is_behind => self.flush(),
                    next => match ready!(next) {
                        Some(Ok(frame)) => self.take(frame),
                        None => self.finish(None),
                        broken => return Poll::Ready(broken),
                    },
                }
            } else {
                self.feed()
            };
            if let Err(error) = step {
                tracing::warn!(%error, "an answer cannot be compressed");
                self.has_failed = true;
                self.is_finished = true;
                return Poll::Ready(Some(Err(Broken(Reason::GatewayExhausted))));
            }
        }
    }

    fn take(&mut self, frame: Frame<Bytes>) -> io::Result<()> {
        match frame.into_data() {
            Ok(data) => {
                self.input = data;
                Ok(())
            }
            Err(frame) => self.finish(frame.into_trailers().ok()),
        }
    }

    fn feed(&mut self) -> io::Result<()> {
        let piece = self.input.split_to(self.input.len().min(MOST_AT_ONCE));
        self.output = match &mut self.recoder {
            Recoder::Compress(encoder) => encoder.feed(&piece)?,
            Recoder::Web(framer) => framer.feed(piece),
        };
        self.is_behind = true;
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.output = match &mut self.recoder {
            Recoder::Compress(encoder) => encoder.flush()?,
            Recoder::Web(framer) => framer.flush(),
        };
        self.is_behind = false;
        Ok(())
    }

    fn finish(&mut self, trailers: Option<HeaderMap>) -> io::Result<()> {
        self.is_finished = true;
        match &mut self.recoder {
            Recoder::Compress(encoder) => {
                self.output = encoder.finish()?;
                self.trailers = trailers;
            }
            Recoder::Web(framer) => self.output = framer.finish(trailers),
        }
        Ok(())
    }
}
