//! The last words to a client whose bytes are not read any further.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A response, the end of the connection after it, and a wait until the client has seen both: to close with unread bytes
/// resets the connection, and the response with it.
pub(super) struct LingeringClose {
    response: Bytes,
    is_closed: bool,
}

impl LingeringClose {
    pub(super) fn new(response: Bytes) -> Self {
        Self { response, is_closed: false }
    }

    /// Ready when there is nothing left to do; how long that may take, the
    /// [`ConnectionState`](super::ConnectionState) decides.
    pub(super) fn poll<S>(&mut self, stream: Pin<&mut S>, cx: &mut Context<'_>) -> Poll<()>
    where
        S: AsyncRead + AsyncWrite,
    {
        // A client that is gone needs no farewell.
        self.try_poll(stream, cx).map(|_| ())
    }

    fn try_poll<S>(&mut self, mut stream: Pin<&mut S>, cx: &mut Context<'_>) -> Poll<io::Result<()>>
    where
        S: AsyncRead + AsyncWrite,
    {
        while self.response.has_remaining() {
            let size = ready!(stream.as_mut().poll_write(cx, &self.response))?;
            if size == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.response.advance(size);
        }
        if !self.is_closed {
            ready!(stream.as_mut().poll_shutdown(cx))?;
            self.is_closed = true;
        }
        let mut scrap = [0; 4096];
        loop {
            let mut scrap = ReadBuf::new(&mut scrap);
            ready!(stream.as_mut().poll_read(cx, &mut scrap))?;
            if scrap.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
        }
    }
}
