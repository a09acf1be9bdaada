//! A connection to a backend, with or without TLS, whole or in halves.

use std::cell::Cell;
use std::future::poll_fn;
use std::io;
use std::net::Shutdown;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio_rustls::client::TlsStream;
use tokio_util::io::InspectWriter;

/// A connection to a backend.
pub(crate) enum Stream {
    /// In cleartext.
    Plain(TcpStream),
    /// Over TLS.
    Tls(Box<Encrypted>),
}

/// A connection over TLS.
type Encrypted = TlsStream<Wire>;

/// What is beneath it, which notes that something went out.
pub(super) type Wire = InspectWriter<TcpStream, fn(&[u8])>;

thread_local! {
    /// Whether something went out since this was last cleared, over any connection.
    static WENT_OUT: Cell<bool> = const { Cell::new(false) };
}

/// `stream` as TLS writes to it.
pub(super) fn wire(stream: TcpStream) -> Wire {
    InspectWriter::new(stream, |_| WENT_OUT.set(true))
}

/// What came of a write over TLS. It goes out in parts, and when a later one fails nothing is said of those before: then one byte
/// is taken for gone, so that nobody sends the message again as one of which nothing left. The next write fails.
fn noting(
    stream: &mut Encrypted,
    write: impl FnOnce(Pin<&mut Encrypted>) -> Poll<io::Result<usize>>,
) -> Poll<io::Result<usize>> {
    WENT_OUT.set(false);
    match write(Pin::new(&mut *stream)) {
        Poll::Ready(Err(_)) if WENT_OUT.get() => {
            // That byte is not there, so nothing may follow it.
            let _ = SockRef::from(stream.get_ref().0.get_ref()).shutdown(Shutdown::Write);
            Poll::Ready(Ok(1))
        }
        written => written,
    }
}

/// What is read of a connection that another task writes to.
pub(super) enum Reading {
    Plain(OwnedReadHalf),
    Tls(Arc<Mutex<Box<Encrypted>>>),
}

/// The other half.
pub(super) enum Writing {
    Plain(OwnedWriteHalf),
    Tls(Arc<Mutex<Box<Encrypted>>>),
}

impl Stream {
    /// Whether the backend has neither closed it nor said anything, which nobody asked for.
    pub(super) fn is_quiet(&mut self) -> bool {
        match self {
            Self::Plain(stream) => {
                matches!(stream.try_read(&mut [0]), Err(error) if error.kind() == io::ErrorKind::WouldBlock)
            }
            // What TLS says to itself, such as new session tickets, is no word of the backend's.
            Self::Tls(stream) => {
                let mut byte = [0];
                let read = poll_fn(|cx| Pin::new(&mut *stream).poll_read(cx, &mut ReadBuf::new(&mut byte)));
                // A task that has used up its turn would be told that there is nothing.
                let read = pin!(tokio::task::unconstrained(read));
                read.poll(&mut Context::from_waker(Waker::noop())).is_pending()
            }
        }
    }

    /// Both halves, for two tasks.
    pub(super) fn into_split(self) -> (Reading, Writing) {
        match self {
            Self::Plain(stream) => {
                let (read, write) = stream.into_split();
                (Reading::Plain(read), Writing::Plain(write))
            }
            Self::Tls(stream) => {
                let shared = Arc::new(Mutex::new(stream));
                (Reading::Tls(Arc::clone(&shared)), Writing::Tls(shared))
            }
        }
    }
}

impl Reading {
    /// The connection as it was.
    pub(super) fn reunite(self, write: Writing) -> Option<Stream> {
        match (self, write) {
            (Self::Plain(read), Writing::Plain(write)) => read.reunite(write).ok().map(Stream::Plain),
            (Self::Tls(read), Writing::Tls(write)) => {
                drop(write);
                Arc::into_inner(read).map(|stream| Stream::Tls(stream.into_inner()))
            }
            _ => None,
        }
    }

    /// Waits until the backend breaks the connection off. What it says until then is lost.
    pub(super) async fn broken(&mut self) {
        let is_well = match self {
            Self::Plain(read) => read.peek(&mut [0]).await.is_ok(),
            Self::Tls(_) => {
                let mut byte = [0];
                poll_fn(|cx| Pin::new(&mut *self).poll_read(cx, &mut ReadBuf::new(&mut byte))).await.is_ok()
            }
        };
        if is_well {
            std::future::pending::<()>().await;
        }
    }
}

impl Writing {
    /// Ends the connection, both ways. One that is gone needs no ending.
    pub(super) fn cut(&self) {
        let _ = match self {
            Self::Plain(write) => SockRef::from(write.as_ref()).shutdown(Shutdown::Both),
            Self::Tls(stream) => SockRef::from(stream.lock().get_ref().0.get_ref()).shutdown(Shutdown::Both),
        };
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Tls(stream) => {
                // TLS keeps what the socket beneath did not take, and whoever waits for an answer has sent all of it. Where nothing
                // more can go out, an answer, or what the server did not like, may be there all the same: reading says so.
                let _ = Pin::new(&mut *stream).poll_flush(cx);
                Pin::new(stream).poll_read(cx, buf)
            }
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Tls(stream) => noting(stream, |stream| stream.poll_write(cx, buf)),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, parts),
            Self::Tls(stream) => noting(stream, |stream| stream.poll_write_vectored(cx, parts)),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

impl AsyncRead for Reading {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(read) => Pin::new(read).poll_read(cx, buf),
            // Not flushed here: the socket wakes one writer only, and that is the other half.
            Self::Tls(stream) => Pin::new(&mut *stream.lock()).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Writing {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(write) => Pin::new(write).poll_write(cx, buf),
            Self::Tls(stream) => noting(&mut stream.lock(), |stream| stream.poll_write(cx, buf)),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(write) => Pin::new(write).poll_write_vectored(cx, parts),
            Self::Tls(stream) => noting(&mut stream.lock(), |stream| stream.poll_write_vectored(cx, parts)),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(write) => Pin::new(write).poll_flush(cx),
            Self::Tls(stream) => Pin::new(&mut *stream.lock()).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(write) => Pin::new(write).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(&mut *stream.lock()).poll_shutdown(cx),
        }
    }
}
