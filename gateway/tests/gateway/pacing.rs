//! Clients and backends that read and write as little at a time as they like, and pause as they like: every body arrives as it
//! was sent, both ways and over both protocols.

use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use fastrand::Rng;
use futures_util::future::join_all;
use futures_util::stream;
use http::{Request, Response};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::support::{Running, Upstream};

/// A connection that takes and gives as it likes.
struct Paced {
    stream: TcpStream,
    chance: Rng,
}

impl Paced {
    fn new(stream: TcpStream, chance: &mut Rng) -> TokioIo<Self> {
        TokioIo::new(Self { stream, chance: chance.fork() })
    }

    /// How much it moves now, or nothing.
    fn size(&mut self, cx: &Context<'_>) -> Poll<usize> {
        if self.chance.u8(..) < 80 {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(size(&mut self.chance))
    }
}

/// Mostly small, now and then more than any buffer.
fn size(chance: &mut Rng) -> usize {
    match chance.u8(..) {
        0..60 => chance.usize(1..4),
        60..200 => chance.usize(1..2000),
        _ => chance.usize(1..60_000),
    }
}

impl AsyncRead for Paced {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let Poll::Ready(most) = self.size(cx) else { return Poll::Pending };
        let mut some = vec![0; most.min(buf.remaining())];
        let mut room = ReadBuf::new(&mut some);
        let read = Pin::new(&mut self.stream).poll_read(cx, &mut room);
        buf.put_slice(room.filled());
        read
    }
}

impl AsyncWrite for Paced {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let Poll::Ready(most) = self.size(cx) else { return Poll::Pending };
        Pin::new(&mut self.stream).poll_write(cx, &bytes[..bytes.len().min(most)])
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

type Body = BoxBody<Bytes, Infallible>;

/// `bytes` in pieces, of a length that is said or not.
fn body(bytes: Bytes, chance: &mut Rng) -> Body {
    if chance.bool() {
        return Full::new(bytes).boxed();
    }
    let pieces = stream::unfold((bytes, chance.fork()), |(mut left, mut chance)| async move {
        if left.is_empty() {
            return None;
        }
        if chance.bool() {
            tokio::task::yield_now().await;
        }
        let piece = left.split_to(size(&mut chance).min(left.len()));
        Some((Ok(Frame::data(piece)), (left, chance)))
    });
    BodyExt::boxed(StreamBody::new(pieces))
}

/// Says what it is told.
async fn parrot(seed: u64) -> Upstream {
    let chance = std::sync::Mutex::new(Rng::with_seed(seed));
    Upstream::raw(move |stream| {
        let mut chance = chance.lock().expect("no panic").fork();
        async move {
            let stream = Paced::new(stream, &mut chance);
            let chance = std::sync::Mutex::new(chance);
            let say = hyper::service::service_fn(move |request: Request<Incoming>| {
                let mut chance = chance.lock().expect("no panic").fork();
                async move {
                    let told = request.into_body().collect().await.map(http_body_util::Collected::to_bytes);
                    let told = told.unwrap_or_else(|_| Bytes::from_static(b"broken off"));
                    Ok::<_, Infallible>(Response::new(body(told, &mut chance)))
                }
            });
            let _ = hyper::server::conn::http1::Builder::new().serve_connection(stream, say).await;
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_pass_whole_at_any_pace() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut chance = Rng::with_seed(seed);
    let upstream = parrot(chance.u64(..)).await;
    let gateway = Running::before(upstream.addr).await;
    join_all((0..40).map(|n| {
        let mut chance = chance.fork();
        let gateway = &gateway;
        async move {
            let socket = TcpStream::connect(gateway.addr).await.expect("connects");
            let stream = Paced::new(socket, &mut chance);
            let is_http2 = n % 2 == 0;
            let (mut first, mut second) = (None, None);
            if is_http2 {
                let mut client = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
                client.initial_stream_window_size(chance.u32(1..70_000));
                let (sender, connection) = client.handshake(stream).await.expect("shakes hands");
                tokio::spawn(connection);
                second = Some(sender);
            } else {
                let (sender, connection) = hyper::client::conn::http1::handshake(stream).await.expect("shakes hands");
                tokio::spawn(connection);
                first = Some(sender);
            }
            for _ in 0..4 {
                let length = chance.usize(..40_000) * chance.usize(..3);
                let said: Bytes = std::iter::repeat_with(|| chance.u8(..)).take(length).collect();
                let uri =
                    if is_http2 { format!("http://{}/api/products", gateway.addr) } else { "/api/products".into() };
                let request =
                    Request::post(uri).header("host", gateway.addr.to_string()).body(body(said.clone(), &mut chance));
                let request = request.expect("a request");
                let response = match (&mut first, &mut second) {
                    (Some(sender), _) => {
                        sender.ready().await.expect("kept");
                        sender.send_request(request).await
                    }
                    (_, Some(sender)) => sender.send_request(request).await,
                    _ => unreachable!("one of them"),
                };
                let response = response.unwrap_or_else(|error| panic!("seed {seed}, client {n}: {error:?}"));
                assert_eq!(response.status(), 200, "seed {seed}, client {n}");
                let heard = response.into_body().collect().await;
                let heard = heard.unwrap_or_else(|error| panic!("seed {seed}, client {n}: {error:?}")).to_bytes();
                assert!(heard == said, "seed {seed}, client {n}: {} bytes became {}", said.len(), heard.len());
            }
        }
    }))
    .await;
}
