//! A message on its way out: the head and what is there of the body go out in one write.

use std::cell::{Cell, RefCell};
use std::io::{self, IoSlice, Write as _};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use http::header::{HeaderMap, HeaderName};
use http_body::Body;
use tokio::io::AsyncWrite;

use crate::fields;

/// Larger buffers than this are not kept for the next head.
const LARGEST_SPARE: usize = 16 * 1024;
/// Chunks up to this size are gathered, up to so many bytes, when there are several: a write costs more than a copy.
const SMALL: usize = 2 * 1024;
const MOST_GATHERED: usize = 12 * 1024;
/// Up to so many bytes are put together for a write: that costs less than to have the kernel, or TLS, look at three places.
const MOST_JOINED: usize = 8 * 1024;

thread_local! {
    /// For the next head: nearly all of them are gone before another request has its turn.
    static SPARE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
    /// Where what is written at once is put together.
    static JOINED: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// A body that takes back what it gave.
pub trait PutBack: Body<Data = Bytes> + Unpin {
    /// Takes back `piece`, the latest that it gave: it did not go out.
    fn put_back(&mut self, piece: Bytes);
}

/// Why a message did not go out whole.
#[derive(Debug)]
pub enum Trouble {
    /// The connection broke.
    Connection(io::Error),
    /// The body did.
    Body,
}

/// What is left of a message.
#[derive(Debug)]
pub struct Outgoing<B> {
    /// The head, then the sizes of chunks.
    lines: Vec<u8>,
    /// So much of the lines is gone.
    gone: usize,
    piece: Bytes,
    /// After the piece.
    tail: &'static [u8],
    /// Bytes of the body among the lines, framed as chunks.
    copied: usize,
    body: B,
    framing: Framing,
    is_begun: bool,
}

/// How a body is delimited.
#[derive(Debug)]
pub enum Framing {
    /// So many bytes are to come.
    Length(u64),
    /// With these trailers allowed, as [`fields::announced`] finds them.
    Chunked(Vec<HeaderName>),
    /// By the end of the connection.
    Close,
    /// All is in the buffers.
    Ended,
}

const LAST_CHUNK: &[u8] = b"\r\n0\r\n\r\n";

impl<B: Body<Data = Bytes> + Unpin> Outgoing<B> {
    /// A response: `body`, delimited by `framing`, behind the head that `write` writes.
    pub fn response(framing: Framing, body: B, write: impl FnOnce(&mut Vec<u8>)) -> Self {
        Self::request(framing, body, write)
    }

    /// A request, whose body can be had [`back`](Self::back) as long as nothing of it went out. `write` writes its head.
    pub fn request(framing: Framing, body: B, write: impl FnOnce(&mut Vec<u8>)) -> Self {
        let mut lines = SPARE.take();
        lines.clear();
        write(&mut lines);
        Self { lines, gone: 0, piece: Bytes::new(), tail: b"", copied: 0, body, framing, is_begun: false }
    }

    /// All of the body is in the buffers.
    fn end(&mut self) {
        self.framing = Framing::Ended;
    }

    /// Whether nothing more is asked of the body: what is left of it is in the buffers.
    #[inline]
    pub fn is_ended(&self) -> bool {
        matches!(self.framing, Framing::Ended)
    }

    /// Bytes of the body that are in the buffers, which is that many at most that were taken from it and have not gone out.
    pub fn unsent(&self) -> usize {
        self.piece.len() + self.copied.min(self.lines.len() - self.gone)
    }

    /// The body, to tell it what became of it.
    #[inline]
    pub fn body_mut(&mut self) -> &mut B {
        &mut self.body
    }

    /// Whether something of it may have been sent.
    #[inline]
    pub fn is_begun(&self) -> bool {
        self.is_begun
    }

    /// Sends until all is sent. To be asked again after it was ready is an error of ours and ready at once.
    pub fn poll_send<S>(&mut self, stream: &mut S, cx: &mut Context<'_>) -> Poll<Result<(), Trouble>>
    where
        S: AsyncWrite + Unpin,
    {
        loop {
            while self.wants_more() {
                match self.poll_piece(cx) {
                    Poll::Ready(Ok(())) => {}
                    Poll::Ready(Err(trouble)) => return Poll::Ready(Err(trouble)),
                    Poll::Pending if self.is_written() => return Poll::Pending,
                    Poll::Pending => break,
                }
            }
            if self.is_written() {
                self.recycle();
                return Poll::Ready(Ok(()));
            }
            ready!(self.poll_write(stream, cx)).map_err(Trouble::Connection)?;
        }
    }

    /// Whether there is room for more of the body before a write.
    fn wants_more(&self) -> bool {
        let is_gathering =
            self.piece.is_empty() && self.tail.is_empty() && self.lines.len() - self.gone < MOST_GATHERED;
        is_gathering && !matches!(self.framing, Framing::Ended)
    }

    /// Whether a reader can tell where the body ends by itself.
    #[inline]
    pub fn is_delimited(&self) -> bool {
        !matches!(self.framing, Framing::Close)
    }

    fn is_written(&self) -> bool {
        self.gone == self.lines.len() && self.piece.is_empty() && self.tail.is_empty()
    }

    fn poll_write<S>(&mut self, stream: &mut S, cx: &mut Context<'_>) -> Poll<io::Result<()>>
    where
        S: AsyncWrite + Unpin,
    {
        let lines = &self.lines[self.gone..];
        let stream = Pin::new(stream);
        let written = if self.piece.is_empty() && self.tail.is_empty() {
            stream.poll_write(cx, lines)
        } else if lines.len() + self.piece.len() + self.tail.len() <= MOST_JOINED {
            JOINED.with_borrow_mut(|joined| {
                joined.clear();
                for part in [lines, &self.piece, self.tail] {
                    joined.extend_from_slice(part);
                }
                stream.poll_write(cx, joined)
            })
        } else {
            let parts = [IoSlice::new(lines), IoSlice::new(&self.piece), IoSlice::new(self.tail)];
            stream.poll_write_vectored(cx, &parts)
        };
        let mut size = ready!(written)?;
        if size == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        self.is_begun = true;
        let of_lines = size.min(lines.len());
        self.gone += of_lines;
        size -= of_lines;
        let of_piece = size.min(self.piece.len());
        self.piece.advance(of_piece);
        self.tail = &self.tail[size - of_piece..];
        Poll::Ready(Ok(()))
    }

    /// Takes the next piece of the body, of which there is one, into the buffers.
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Trouble>> {
        let body = &mut self.body;
        let frame = loop {
            let Some(frame) = ready!(Pin::new(&mut *body).poll_frame(cx)) else { break None };
            let frame = frame.map_err(|_| Trouble::Body)?;
            // An empty chunk would end the body.
            if frame.data_ref().is_none_or(|data| !data.is_empty()) {
                break Some(frame);
            }
        };
        let is_last = matches!(self.framing, Framing::Chunked(_)) && body.is_end_stream();
        let data = frame.map(http_body::Frame::into_data);
        match (&mut self.framing, data) {
            (Framing::Ended, _) => {}
            (Framing::Length(left), Some(Ok(data))) => {
                let size = u64::try_from(data.len()).unwrap_or(u64::MAX);
                // Who gives the body sees to it that the length is right; a wrong one must not go on as the next request.
                *left = left.checked_sub(size).ok_or(Trouble::Body)?;
                let is_last = *left == 0;
                self.piece = data;
                if is_last {
                    self.end();
                }
            }
            (Framing::Length(_), _) => return Poll::Ready(Err(Trouble::Body)),
            (Framing::Close, Some(Ok(data))) => self.piece = data,
            (Framing::Close, _) => self.end(),
            (Framing::Chunked(_), Some(Ok(data))) => {
                self.make_room();
                write_size(data.len(), &mut self.lines);
                let tail = if is_last { LAST_CHUNK } else { &LAST_CHUNK[..2] };
                // Copied, they could not be taken back if nothing goes out.
                if self.is_begun && data.len() <= SMALL {
                    self.lines.extend_from_slice(&data);
                    self.copied += data.len();
                    self.lines.extend_from_slice(tail);
                } else {
                    self.piece = data;
                    self.tail = tail;
                }
                if is_last {
                    self.end();
                }
            }
            (Framing::Chunked(allowed), Some(Err(frame))) => {
                let mut trailers = frame.into_trailers().unwrap_or_default();
                retain(&mut trailers, allowed);
                self.make_room();
                self.lines.extend_from_slice(b"0\r\n");
                fields::write(&trailers, &mut self.lines);
                self.lines.extend_from_slice(b"\r\n");
                self.end();
                // They cannot be had twice.
                self.is_begun = true;
            }
            (Framing::Chunked(_), None) => {
                self.tail = &LAST_CHUNK[2..];
                self.end();
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Forgets lines that were sent.
    fn make_room(&mut self) {
        if self.gone == self.lines.len() {
            self.lines.clear();
            self.gone = 0;
            self.copied = 0;
        }
    }

    /// Leaves the buffer to the next head.
    fn recycle(&mut self) {
        (self.gone, self.copied) = (0, 0);
        let lines = std::mem::take(&mut self.lines);
        if (1..=LARGEST_SPARE).contains(&lines.capacity()) {
            SPARE.set(lines);
        }
    }
}

impl<B: PutBack> Outgoing<B> {
    /// The body as it was, if nothing of the request was sent.
    pub fn back(self) -> Option<B> {
        if self.is_begun {
            return None;
        }
        let Self { mut body, piece, .. } = self;
        if !piece.is_empty() {
            body.put_back(piece);
        }
        Some(body)
    }
}

/// The line that begins a chunk.
fn write_size(size: usize, out: &mut Vec<u8>) {
    // Writing to a buffer that grows cannot fail.
    let _ = write!(out, "{size:X}\r\n");
}

/// Leaves those `trailers` that are `allowed`.
fn retain(trailers: &mut HeaderMap, allowed: &[HeaderName]) {
    let all = std::mem::take(trailers);
    let mut name = None;
    for (next, value) in all {
        name = next.or(name);
        if let Some(name) = name.as_ref().filter(|name| allowed.contains(name)) {
            trailers.append(name, value);
        }
    }
}
