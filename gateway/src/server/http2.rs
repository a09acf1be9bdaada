//! A client's connection over HTTP/2. hyper speaks it; what it leaves open is here: a client that takes nothing of an answer
//! loses the answer's stream, and what waits for a client to take it has a bound.

pub(super) mod outflow;

use std::cell::Cell;
use std::convert::Infallible;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{Method, Request, Response};
use hyper::ext::Protocol;
use hyper::rt::Executor;
use hyper::service::service_fn;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use shop_runtime::CancellationToken;

use self::outflow::{Answer, Flow};
use super::connection_state::Command;
use super::handler::{Handler, Served, Serving, Tunnel as _};
use super::socket::{Socket, Watched};
use super::{ConnectionState, Worker, future_pool};
use crate::message::upgrade;
use crate::upstream::body::Incoming;

/// Runs the tasks of streams. One that is given up is dropped, which resets its stream: hyper itself waits for its client.
#[derive(Debug, Clone, Copy)]
pub(super) struct Streams;

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Streams {
    fn execute(&self, stream: F) {
        match TUNNEL.take() {
            None => shop_runtime::spawn_here(watched(stream)),
            Some(cut) => shop_runtime::spawn_here(async move {
                tokio::select! {
                    () = stream => {}
                    () = cut.cancelled() => {}
                }
            }),
        }
    }
}

thread_local! {
    /// What cuts the tunnel that was begun, for the task that sends its bytes: hyper runs that one next.
    static TUNNEL: Cell<Option<CancellationToken>> = const { Cell::new(None) };
}

async fn watched(stream: impl Future<Output = ()>) {
    let mut stream = pin!(stream);
    let mut answer: Option<Arc<dyn Flow>> = None;
    let step = |cx: &mut Context<'_>| {
        if answer.as_ref().is_some_and(|answer| answer.is_given_up(cx)) {
            return Poll::Ready(());
        }
        let polled = stream.as_mut().poll(cx);
        // Left when the client was gone before its tunnel began; no other stream's task shall take it.
        drop(TUNNEL.take());
        if answer.is_none() {
            answer = outflow::begun();
            // Registers; nobody can have given it up yet.
            let _ = answer.as_ref().map(|answer| answer.is_given_up(cx));
        }
        polled
    };
    poll_fn(step).await;
}

/// A request being served, small: hyper moves it seven times before it is polled.
struct Serve<H: Handler> {
    /// None when it is over.
    serving: Option<Serving<H>>,
    connection: Arc<ConnectionState>,
    /// The stream itself, when the client asks for a tunnel.
    stream: Option<OnUpgrade>,
}

impl<H: Handler> Future for Serve<H> {
    type Output = Result<Response<Answer<H::Body>>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(serving) = &mut self.serving else { return Poll::Pending };
        let Served { response, tunnel } = ready!(serving.poll(cx));
        let response = response.into_http();
        if let Some((tunnel, stream)) = tunnel.zip(self.stream.take()) {
            self.connection.becomes_tunnel();
            let cut = CancellationToken::new();
            TUNNEL.set(Some(cut.clone()));
            shop_runtime::spawn_here(async move {
                // Of a client that is gone nothing is left to serve. One that takes nothing keeps what was sent to it, unless its
                // stream is reset.
                if let Ok(client) = stream.await
                    && !tunnel.run(TokioIo::new(client), Bytes::new(), None).await
                {
                    cut.cancel();
                }
            });
        }
        self.serving.take().into_iter().for_each(future_pool::leave::<H>);
        Poll::Ready(Ok(response.map(|body| Answer::new(body, Arc::clone(&self.connection)))))
    }
}

/// Whether it is an extended CONNECT for a WebSocket (RFC 8441, section 5). What else one may ask for is refused like any CONNECT.
fn asks_for_websocket(request: &Request<hyper::body::Incoming>) -> bool {
    let protocol = request.extensions().get::<Protocol>();
    request.method() == Method::CONNECT && protocol.is_some_and(|protocol| protocol.as_str() == "websocket")
}

impl<H: Handler> Worker<H> {
    pub(super) async fn serve_http2(
        self: &Arc<Self>,
        stream: Socket,
        begin: Bytes,
        peer: SocketAddr,
        connection_state: Arc<ConnectionState>,
    ) {
        connection_state.speaks_http2(self.most_streams);
        let service = service_fn(|mut request: Request<hyper::body::Incoming>| {
            // Kept connections end with an answer that says so while it drains, rather than under a request later.
            if self.state.lifecycle.is_draining() {
                connection_state.command(Command::Finish);
            }
            let stream = asks_for_websocket(&request).then(|| hyper::upgrade::on(&mut request));
            let (mut head, body) = request.into_parts();
            if stream.is_some() {
                upgrade::translate(&mut head);
            }
            let (head, body) = (head.into(), Incoming::Http2(body));
            let connection = Arc::clone(&connection_state);
            let served = Arc::clone(&self.handler).serve(self.index, Arc::clone(&connection), peer.ip(), head, body);
            Serve::<H> { serving: Some(future_pool::room_for::<H>(served)), connection, stream }
        });
        let io =
            TokioIo::new(Watched { socket: stream, begin, state: Arc::clone(&connection_state), is_stalled: false });
        let mut connection = Box::pin(self.http2.serve_connection(io, service));
        let mut finishing = false;
        let mut step = |cx: &mut Context<'_>| {
            loop {
                let command = connection_state.poll_command(cx);
                if command == Command::Cut {
                    return Poll::Ready(Ok(()));
                }
                // Read what has arrived before an idle connection is closed: it may be a request.
                if let Poll::Ready(ended) = connection.as_mut().poll(cx) {
                    return Poll::Ready(ended);
                }
                if finishing || command != Command::Finish {
                    return Poll::Pending;
                }
                finishing = true;
                connection.as_mut().graceful_shutdown();
            }
        };
        if let Err(error) = poll_fn(|cx| step(cx)).await {
            tracing::debug!(%error, "a client connection ended");
        }
    }
}
