//! What hostile clients do. The test of hostile clients makes sure that nobody else notices, the benchmark of proxies, which reads
//! this file too, measures how much they do.

use std::future::pending;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, join_all};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

use crate::peer::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, PING, Peer, RST_STREAM, WINDOW_UPDATE, block, frame,
};

/// One attacker: where it comes from, and whom it attacks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Attacker {
    pub(crate) from: IpAddr,
    pub(crate) to: SocketAddr,
}

/// A way to be hostile.
#[derive(Clone, Copy)]
pub(crate) struct Attack {
    pub(crate) name: &'static str,
    /// Done over and over again, and broken off at the end. A backend answers `large` with a mebibyte, `endless` without end.
    once: fn(Attacker) -> BoxFuture<'static, ()>,
    /// How the gateway counts it, in any one of these metrics; none are counted where nobody is held up by it.
    pub(crate) seen: &'static [&'static str],
}

impl Attack {
    /// Goes on until it is dropped.
    pub(crate) async fn run(self, attacker: Attacker) {
        let mut pace = tokio::time::interval(Duration::from_millis(20));
        loop {
            pace.tick().await;
            (self.once)(attacker).await;
        }
    }
}

const HEAD_TIMEOUT: &str = r#"gateway_connections_cut_total{reason="head_timeout"}"#;
const WRITE_STALLED: &str = r#"gateway_connections_cut_total{reason="write_stalled"}"#;
const STREAM_RESET: &str = "gateway_streams_reset_total";
const BODY_TIMEOUT: &str = r#"gateway_refusals_total{reason="body_timeout",service="product"}"#;
const CLIENT_CLOSED: &str = r#"gateway_refusals_total{reason="client_closed",service="product"}"#;
const NO_ROUTE: &str = r#"gateway_refusals_total{reason="no_route",service="gateway"}"#;
const DEADLINE: &str = r#"gateway_refusals_total{reason="upstream_timeout",service="product"}"#;

const POST: &str = "POST /api/products/echo HTTP/1.1\r\nhost: a\r\n";
const LARGE: &str = "GET /api/products/large HTTP/1.1\r\nhost: a\r\n\r\n";
/// The largest that the gateway has of its own.
const OWN: &str = "GET /docs/swagger-ui.js HTTP/1.1\r\nhost: a\r\naccept-encoding: gzip\r\n\r\n";
const GET_PRODUCT: &str = "/shop.product.v1.ProductService/GetProduct";
const ENDLESS: &str = "/shop.product.v1.ProductService/Endless";
/// The length of a message that does not come.
const PROMISE: &[u8] = &[0, 0, 0, 4, 0];
/// A message of no bytes.
const EMPTY: &[u8] = &[0; 5];
/// As a client may send on a stream at first.
const WINDOW: u32 = 65_535;

impl Attacker {
    async fn connect(self) -> Option<TcpStream> {
        let socket = TcpSocket::new_v4().ok()?;
        socket.bind((self.from, 0).into()).ok()?;
        socket.connect(self.to).await.ok()
    }

    /// Says `begin`, then `piece` every so many milliseconds, as long as it is heard.
    async fn drips(self, begin: String, piece: &'static [u8], every: u64) {
        let Some(mut client) = self.connect().await else { return };
        let mut ticks = tokio::time::interval(Duration::from_millis(every));
        let _ = client.write_all(begin.as_bytes()).await;
        while client.write_all(piece).await.is_ok() {
            ticks.tick().await;
        }
    }

    /// Says `begin` and then nothing, and reads `at_once` bytes now and then, if any.
    async fn waits(self, begin: String, at_once: usize) {
        let Some(mut client) = self.connect().await else { return };
        let _ = client.write_all(begin.as_bytes()).await;
        if at_once == 0 {
            return pending().await;
        }
        let mut room = vec![0; at_once];
        while client.read(&mut room).await.is_ok_and(|size| size > 0) {}
    }

    /// Sends `begin` over so many connections, and keeps them.
    async fn crowds(self, connections: usize, begin: Vec<u8>) {
        let begin = &begin;
        let all = join_all((0..connections).map(|_| async move {
            let mut client = self.connect().await?;
            client.write_all(begin).await.ok()?;
            Some(client)
        }));
        let _all = all.await;
        pending::<()>().await;
    }

    /// A connection over HTTP/2 with a window for each stream.
    async fn peer(self, window: u32) -> Option<Peer> {
        Some(Peer::client(self.connect().await?, &[&[0, 4][..], &window.to_be_bytes()].concat()).await)
    }

    /// Begins on so many streams what `head` says, with `data` and more to come.
    async fn begins(self, streams: u32, head: Vec<u8>, data: &'static [u8]) -> Option<Peer> {
        let mut peer = self.peer(WINDOW).await?;
        for stream in odd(streams) {
            let begin = [frame(HEADERS, END_HEADERS, stream, &head), frame(DATA, 0, stream, data)].concat();
            peer.send(begin).await;
        }
        Some(peer)
    }

    /// Begins, and sends `piece` on each stream every so many milliseconds.
    async fn drips_on(self, streams: u32, head: Vec<u8>, data: &'static [u8], piece: &'static [u8], every: u64) {
        let Some(mut peer) = self.begins(streams, head, data).await else { return };
        let mut ticks = tokio::time::interval(Duration::from_millis(every));
        while peer.send(odd(streams).flat_map(|stream| frame(DATA, 0, stream, piece)).collect()).await {
            ticks.tick().await;
        }
    }

    /// Asks for what `head` says on so many streams, and reads what comes if it `reads`.
    async fn asks(self, window: u32, head: Vec<u8>, reads: bool) {
        let Some(mut peer) = self.peer(window).await else { return };
        for stream in odd(40) {
            peer.send(whole(stream, &head)).await;
        }
        if reads { peer.reads().await } else { pending().await }
    }

    /// Takes what comes byte by byte.
    async fn nibbles(self, head: Vec<u8>) {
        let Some(mut peer) = self.peer(1).await else { return };
        peer.send(whole(1, &head)).await;
        while let Some((kind, ..)) = peer.frame().await {
            if kind == DATA {
                peer.send(frame(WINDOW_UPDATE, 0, 1, &1_u32.to_be_bytes())).await;
            }
        }
    }

    /// Takes back each call at once.
    async fn resets(self, head: Vec<u8>) {
        let Some(mut peer) = self.peer(WINDOW).await else { return };
        for stream in odd(2000) {
            let is_heard =
                peer.send(whole(stream, &head)).await && peer.send(frame(RST_STREAM, 0, stream, &[0, 0, 0, 8])).await;
            if !is_heard {
                return;
            }
        }
        peer.reads().await;
    }

    /// Sends a body in pieces of a byte.
    async fn crumbles(self, head: Vec<u8>) {
        let Some(mut peer) = self.begins(1, head, &[]).await else { return };
        for _ in 0..5000 {
            peer.send(frame(DATA, 0, 1, b"x")).await;
        }
        peer.send(frame(DATA, END_STREAM, 1, b"x")).await;
        peer.reads().await;
    }

    /// Asks, and sends nothing more.
    async fn half_closes(self, head: Vec<u8>) {
        let Some(mut peer) = self.peer(WINDOW).await else { return };
        peer.send(whole(1, &head)).await;
        let _ = peer.stream.shutdown().await;
        peer.reads().await;
    }
}

impl Peer {
    async fn reads(&mut self) {
        while self.frame().await.is_some() {}
    }
}

/// The numbers of so many streams of a client.
fn odd(streams: u32) -> impl Iterator<Item = u32> {
    (0..streams).map(|number| 2 * number + 1)
}

/// A request for `path`.
fn get(path: &str) -> Vec<u8> {
    block(&[(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", path)])
}

/// The head of an upload.
fn post() -> Vec<u8> {
    let kind = ("content-type", "application/json");
    block(&[(":method", "POST"), (":scheme", "http"), (":authority", "a"), (":path", "/api/products/echo"), kind])
}

/// The head of a call, with more in it.
fn call(path: &str, more: &[(&str, &str)]) -> Vec<u8> {
    let head = [(":method", "POST"), (":scheme", "http"), (":authority", "a"), (":path", path)];
    let kind = [("content-type", "application/grpc"), ("te", "trailers")];
    block(&[&head[..], &kind, more].concat())
}

/// A request on `stream` that has all it needs: calls have a message.
fn whole(stream: u32, head: &[u8]) -> Vec<u8> {
    let is_call = head.windows(16).any(|bytes| bytes == b"application/grpc");
    if is_call {
        [frame(HEADERS, END_HEADERS, stream, head), frame(DATA, END_STREAM, stream, EMPTY)].concat()
    } else {
        frame(HEADERS, END_HEADERS | END_STREAM, stream, head)
    }
}

const fn attack(
    name: &'static str,
    seen: &'static [&'static str],
    once: fn(Attacker) -> BoxFuture<'static, ()>,
) -> Attack {
    Attack { name, once, seen }
}

/// All of them.
pub(crate) const ATTACKS: [Attack; 41] = [
    attack("slow head", &[HEAD_TIMEOUT], |from| {
        from.drips("GET /api/products HTTP/1.1\r\nx: ".into(), b"x", 40).boxed()
    }),
    attack("slow body", &[CLIENT_CLOSED], |from| {
        from.drips(format!("{POST}content-length: 1000\r\n\r\n"), b"x", 40).boxed()
    }),
    attack("no body", &[BODY_TIMEOUT], |from| from.waits(format!("{POST}content-length: 1000\r\n\r\n"), 1).boxed()),
    attack("no chunk", &[BODY_TIMEOUT], |from| {
        from.waits(format!("{POST}transfer-encoding: chunked\r\n\r\n"), 1).boxed()
    }),
    attack("one-byte chunks", &[], |from| {
        let chunks = "1\r\nx\r\n".repeat(50_000);
        from.waits(format!("{POST}connection: close\r\ntransfer-encoding: chunked\r\n\r\n{chunks}0\r\n\r\n"), 1).boxed()
    }),
    attack("endless body", &[CLIENT_CLOSED], |from| {
        from.drips(format!("{POST}transfer-encoding: chunked\r\n\r\n"), b"8\r\nxxxxxxxx\r\n", 1).boxed()
    }),
    attack("one-byte reads", &[CLIENT_CLOSED, WRITE_STALLED], |from| {
        async move {
            let Some(mut client) = from.connect().await else { return };
            let _ = client.write_all(LARGE.repeat(20).as_bytes()).await;
            let mut ticks = tokio::time::interval(Duration::from_millis(1));
            while client.read_u8().await.is_ok() {
                ticks.tick().await;
            }
        }
        .boxed()
    }),
    attack("never reading", &[WRITE_STALLED], |from| from.waits(LARGE.repeat(20), 0).boxed()),
    attack("never reading own answers", &[WRITE_STALLED], |from| from.waits(OWN.repeat(100), 0).boxed()),
    attack("endless answer", &[CLIENT_CLOSED], |from| from.waits(LARGE.replace("large", "endless"), 64).boxed()),
    attack("half close", &[CLIENT_CLOSED], |from| {
        async move {
            for request in [LARGE.to_owned(), POST.to_owned(), format!("{POST}content-length: 1000\r\n\r\nx")] {
                let Some(mut client) = from.connect().await else { return };
                let _ = client.write_all(request.as_bytes()).await;
                let _ = client.shutdown().await;
                let _ = client.read_to_end(&mut Vec::new()).await;
            }
        }
        .boxed()
    }),
    attack("resets", &[CLIENT_CLOSED], |from| {
        async move {
            for _ in 0..50 {
                let Some(mut client) = from.connect().await else { return };
                let _ = client.write_all(LARGE.as_bytes()).await;
                let _ = client.read_u8().await;
                let _ = client.set_zero_linger();
            }
        }
        .boxed()
    }),
    attack("idle connections", &[], |from| from.crowds(500, Vec::new()).boxed()),
    attack("idle connections after an answer", &[], |from| {
        from.crowds(500, b"GET /health/live HTTP/1.1\r\nhost: a\r\n\r\n".to_vec()).boxed()
    }),
    attack("what fills the log", &[NO_ROUTE], |from| {
        async move {
            let request = format!("GET /{} HTTP/1.1\r\nhost: a\r\n\r\n", "x".repeat(500));
            let Some(mut client) = from.connect().await else { return };
            let _ = client.write_all(request.repeat(200).as_bytes()).await;
            let _ = client.shutdown().await;
            let _ = client.read_to_end(&mut Vec::new()).await;
        }
        .boxed()
    }),
    attack("http2: slow head", &[], |from| {
        async move {
            let Some(mut peer) = from.peer(WINDOW).await else { return };
            peer.send(frame(HEADERS, END_STREAM, 1, &get("/api/products"))).await;
            let mut ticks = tokio::time::interval(Duration::from_millis(40));
            while peer.send(frame(CONTINUATION, 0, 1, &[])).await {
                ticks.tick().await;
            }
        }
        .boxed()
    }),
    attack("http2: slow bodies", &[CLIENT_CLOSED], |from| from.drips_on(20, post(), b"", b"x", 40).boxed()),
    attack("http2: no body", &[BODY_TIMEOUT], |from| {
        async move {
            let Some(mut peer) = from.begins(40, post(), b"").await else { return };
            peer.reads().await;
        }
        .boxed()
    }),
    attack("http2: endless bodies", &[CLIENT_CLOSED], |from| from.drips_on(20, post(), b"", b"xxxxxxxx", 1).boxed()),
    attack("http2: one-byte frames", &[], |from| from.crumbles(post()).boxed()),
    attack("http2: one-byte reads", &[CLIENT_CLOSED], |from| from.nibbles(get("/api/products/large")).boxed()),
    attack("http2: no window", &[STREAM_RESET], |from| from.asks(0, get("/api/products/large"), true).boxed()),
    attack("http2: no window for own answers", &[STREAM_RESET], |from| {
        from.asks(0, get("/docs/swagger-ui.js"), true).boxed()
    }),
    attack("http2: a window of one byte", &[STREAM_RESET], |from| {
        from.asks(1, get("/api/products/large"), true).boxed()
    }),
    attack("http2: never reading", &[STREAM_RESET, WRITE_STALLED], |from| {
        from.asks(1 << 20, get("/api/products/large"), false).boxed()
    }),
    attack("http2: endless answers", &[STREAM_RESET, CLIENT_CLOSED], |from| {
        from.asks(WINDOW, get("/api/products/endless"), true).boxed()
    }),
    attack("http2: resets", &[CLIENT_CLOSED], |from| from.resets(get("/api/products/large")).boxed()),
    attack("http2: half close", &[], |from| from.half_closes(get("/api/products/large")).boxed()),
    attack("http2: pings", &[], |from| {
        async move {
            let Some(mut peer) = from.peer(WINDOW).await else { return };
            while peer.send(frame(PING, 0, 0, &[0; 8]).repeat(100)).await {}
        }
        .boxed()
    }),
    attack("http2: idle connections", &[], |from| {
        let settings = frame(4, 0, 0, &[]);
        from.crowds(500, [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &settings].concat()).boxed()
    }),
    attack("grpc: no message", &[CLIENT_CLOSED], |from| {
        async move {
            let Some(mut peer) = from.begins(40, call(GET_PRODUCT, &[]), b"").await else { return };
            peer.reads().await;
        }
        .boxed()
    }),
    attack("grpc: slow messages", &[CLIENT_CLOSED], |from| {
        from.drips_on(20, call(GET_PRODUCT, &[]), PROMISE, b"x", 40).boxed()
    }),
    attack("grpc: endless messages", &[CLIENT_CLOSED], |from| {
        from.drips_on(20, call(GET_PRODUCT, &[]), EMPTY, EMPTY, 1).boxed()
    }),
    attack("grpc: one-byte frames", &[], |from| from.crumbles(call(GET_PRODUCT, &[])).boxed()),
    attack("grpc: one-byte reads", &[CLIENT_CLOSED], |from| from.nibbles(call(ENDLESS, &[])).boxed()),
    attack("grpc: no window", &[STREAM_RESET], |from| from.asks(0, call(ENDLESS, &[]), true).boxed()),
    attack("grpc: never reading", &[STREAM_RESET, WRITE_STALLED], |from| {
        from.asks(1 << 20, call(ENDLESS, &[]), false).boxed()
    }),
    attack("grpc: endless answers", &[STREAM_RESET, CLIENT_CLOSED], |from| {
        from.asks(WINDOW, call(ENDLESS, &[]), true).boxed()
    }),
    attack("grpc: resets", &[CLIENT_CLOSED], |from| from.resets(call(GET_PRODUCT, &[])).boxed()),
    attack("grpc: deadlines", &[DEADLINE], |from| {
        async move {
            let Some(mut peer) = from.peer(WINDOW).await else { return };
            let head = call(ENDLESS, &[("grpc-timeout", "30m")]);
            peer.send(odd(80).flat_map(|stream| whole(stream, &head)).collect()).await;
            let mut left = 80;
            while left > 0
                && let Some((kind, flags, ..)) = peer.frame().await
            {
                left -= usize::from(kind <= HEADERS && flags & END_STREAM != 0);
            }
        }
        .boxed()
    }),
    attack("grpc: half close", &[], |from| from.half_closes(call(ENDLESS, &[])).boxed()),
];
