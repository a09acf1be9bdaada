//! What the server needs of whoever answers: it knows connections, and nothing of what is said over them.

use std::cell::RefCell;
use std::error::Error;
use std::net::IpAddr;
use std::sync::Arc;
use std::thread::LocalKey;
use std::time::Instant;

use bytes::Bytes;
use http_body::Body;
use shop_http1::request_head::{self, Fault};
use shop_http1::response::Skip;
use shop_http1::response_head::Response;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::ReusableBoxFuture;

use super::ConnectionState;
use crate::upstream::body::Incoming;

/// Answers the requests of all connections.
pub(crate) trait Handler: Send + Sync + Sized + 'static {
    /// Of its responses.
    type Body: Body<Data = Bytes, Error: Into<Box<dyn Error + Send + Sync>>> + Skip + Sent + Unpin + Send + 'static;
    /// What a connection may become.
    type Tunnel: Tunnel;

    /// Answers one request, whatever happens. `worker` is the number of the thread.
    fn serve(
        self: Arc<Self>,
        worker: usize,
        connection: Arc<ConnectionState>,
        peer: IpAddr,
        request: request_head::Parts,
        body: Incoming,
    ) -> impl Future<Output = Served<Self::Body, Self::Tunnel>> + Send + 'static;

    /// The bytes of the response to a head that must not be handed on; none if the client could not read it.
    fn refuse(&self, connection: &Arc<ConnectionState>, fault: &Fault) -> Bytes;

    /// Where each thread keeps the room of requests that are over: a generic function cannot have a place of its own.
    fn spare() -> &'static LocalKey<Spare<Self>>;
}

/// The body of a response, told what became of it.
pub(crate) trait Sent {
    /// When the client has to have all of it, however it takes it; none when it goes on as long as both sides like.
    fn due(&self) -> Option<Instant>;

    /// All of it was taken up to be sent: nothing more is asked of whoever it came from.
    fn settle(&mut self);

    /// It did not leave whole: so many bytes of what it gave are still here.
    fn lost(&mut self, bytes: usize);
}

/// What came of a request.
pub(crate) struct Served<B, T> {
    pub(crate) response: Response<B>,
    /// What the connection is after the response, a 101; over HTTP/2 the stream after a 200.
    pub(crate) tunnel: Option<Box<T>>,
}

/// A request being served, in room that is used again.
pub(crate) type Serving<H> = ReusableBoxFuture<'static, Served<<H as Handler>::Body, <H as Handler>::Tunnel>>;

/// Room of requests that are over.
pub(crate) type Spare<H> = RefCell<Vec<Serving<H>>>;

/// What follows a 101 on a connection, or on a stream over HTTP/2, to its end.
pub(crate) trait Tunnel: Send + 'static {
    /// Goes on until there is nothing more to pass on, or `connection` says to cut; a stream ends with its connection
    /// by itself. `early` is what the client sent before it had its 101. Whether all came through that there was.
    fn run<C>(
        self: Box<Self>,
        client: C,
        early: Bytes,
        connection: Option<&ConnectionState>,
    ) -> impl Future<Output = bool> + Send
    where
        C: AsyncRead + AsyncWrite + Unpin + Send;
}
