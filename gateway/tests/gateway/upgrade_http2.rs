//! Web sockets over HTTP/2 (RFC 8441), through real libraries on both sides.

use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use http::{Method, Request};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http2::SendRequest;
use hyper::ext::Protocol;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use shop_testing::eventually;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;

use crate::peer::{DATA, END_HEADERS, HEADERS, Peer, RST_STREAM, block, frame};
use crate::support::{Reply, Running, Upstream, config, http2, read_head};
use crate::upgrade::{echo, switcher};
use crate::windows::{CANCEL, window};

const LIVE: &str = "/api/notifications/live?since=7";
const ACTIVE: &str = "gateway_active_requests{service=\"notification\"}";

type Client = SendRequest<Full<Bytes>>;
type Socket = WebSocketStream<TokioIo<Upgraded>>;

/// A connection that knows what the gateway offers: that comes before the first answer.
async fn connect(gateway: &Running) -> Client {
    let mut client = http2(gateway.addr).await;
    let request = Request::get("http://gw.test/health").body(Full::default()).expect("a request");
    client.send_request(request).await.expect("an answer").collect().await.expect("is whole");
    client
}

fn ask(path: &str, protocol: &'static str) -> Request<Full<Bytes>> {
    let request = Request::builder().method(Method::CONNECT).uri(format!("http://gw.test{path}"));
    let request = request.extension(Protocol::from_static(protocol)).header("sec-websocket-version", "13");
    request.header("sec-websocket-protocol", "chat").body(Full::default()).expect("a request")
}

async fn open(client: &mut Client) -> (http::HeaderMap, Upgraded) {
    let answer = client.send_request(ask(LIVE, "websocket")).await.expect("an answer");
    assert_eq!(answer.status(), 200);
    let headers = answer.headers().clone();
    (headers, hyper::upgrade::on(answer).await.expect("a tunnel"))
}

async fn socket(client: &mut Client) -> Socket {
    let (headers, stream) = open(client).await;
    for name in ["sec-websocket-accept", "upgrade", "connection"] {
        assert!(!headers.contains_key(name), "{name} is of HTTP/1.1");
    }
    WebSocketStream::from_raw_socket(TokioIo::new(stream), Role::Client, None).await
}

async fn returns(socket: &mut Socket, message: Message) {
    socket.send(message.clone()).await.expect("sends");
    assert_eq!(socket.next().await.expect("open").expect("a message"), message);
}

async fn refused(client: &mut Client, request: Request<Full<Bytes>>) -> Reply {
    let (head, body) = client.send_request(request).await.expect("an answer").into_parts();
    Reply { head, trailers: None, body: body.collect().await.expect("is whole").to_bytes() }
}

#[tokio::test]
async fn sockets_and_requests_share_a_connection() {
    let backend = echo().await;
    let gateway = Running::before(backend.addr).await;
    let mut client = connect(&gateway).await;
    let mut one = socket(&mut client).await;
    let mut other = socket(&mut client).await;
    returns(&mut one, Message::text("grüß Gott")).await;
    returns(&mut other, Message::binary((0..=255).collect::<Vec<u8>>())).await;
    returns(&mut one, Message::binary(vec![7; 5 << 20])).await;
    one.send(Message::Ping("a".into())).await.expect("sends");
    assert_eq!(one.next().await.expect("open").expect("a message"), Message::Pong("a".into()));
    assert_eq!(gateway.metric(ACTIVE), Some(2.0));
    let request = Request::get("http://gw.test/health").body(Full::default()).expect("a request");
    assert_eq!(client.send_request(request).await.expect("an answer").status(), 200);
    one.close(None).await.expect("closes");
    while one.next().await.is_some() {}
    drop(one);
    eventually!(gateway.metric(ACTIVE) == Some(1.0));
    returns(&mut other, Message::text("still here")).await;
    // The connection goes, and the stream with it.
    drop((client, other));
    eventually!(gateway.metric(ACTIVE) == Some(0.0));
    eventually!(backend.open.load(SeqCst) == 0);
    let ended = "gateway_requests_total{method=\"GET\",service=\"notification\",status=\"200\"}";
    assert!(gateway.metric(ended) >= Some(1.0));
}

#[tokio::test]
async fn a_backend_is_asked_as_over_http1_and_has_to_prove_it() {
    let seen = Arc::new(Mutex::new(String::new()));
    let notes = Arc::clone(&seen);
    let backend = Upstream::raw(move |mut stream| {
        let notes = Arc::clone(&notes);
        async move {
            let head = String::from_utf8(read_head(&mut stream).await).expect("text").to_ascii_lowercase();
            *notes.lock() = head.clone();
            // Of the case in which it came.
            let answer = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
                          sec-websocket-accept: bm90IHRoZSBwcm9vZiBvZiBpdA==\r\n\r\n";
            let _ = stream.write_all(answer.as_bytes()).await;
            let _ = stream.read_to_end(&mut Vec::new()).await;
        }
    })
    .await;
    let gateway = Running::before(backend.addr).await;
    let mut client = connect(&gateway).await;
    refused(&mut client, ask(LIVE, "websocket")).await.refused(502, "upstream_invalid");
    let head = seen.lock().clone();
    assert!(head.starts_with("get /notifications/live?since=7 http/1.1\r\n"), "{head}");
    for line in [
        "host: gw.test",
        "connection: upgrade",
        "upgrade: websocket",
        "sec-websocket-version: 13",
        "sec-websocket-protocol: chat",
    ] {
        assert!(head.lines().any(|found| found == line), "{line}: {head}");
    }
    let key = head.lines().find_map(|line| line.strip_prefix("sec-websocket-key: ")).expect("a key");
    assert_eq!(key.len(), 24);
    assert!(!head.contains(":protocol") && !head.contains("content-length") && !head.contains("transfer-encoding"));
    eventually!(backend.open.load(SeqCst) == 0);
    assert_eq!(gateway.metric(ACTIVE), Some(0.0));
}

#[tokio::test]
async fn what_is_no_tunnel_does_not_look_like_one() {
    let silent =
        switcher("HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n").await;
    let gateway = Running::before(silent.addr).await;
    let mut client = connect(&gateway).await;
    refused(&mut client, ask(LIVE, "websocket")).await.refused(502, "upstream_invalid");
    refused(&mut client, ask("/health", "websocket")).await.refused(502, "upstream_invalid");
    refused(&mut client, ask("/nowhere", "websocket")).await.refused(404, "no_route");
    refused(&mut client, ask(LIVE, "connect-udp")).await.refused(405, "method_refused");
    let mut call = ask(LIVE, "websocket");
    call.headers_mut().insert("content-type", "application/grpc".parse().expect("a value"));
    refused(&mut client, call).await.refused(502, "upstream_invalid");
    for (status, expected) in [("200 OK", 502), ("204 No Content", 502), ("403 Forbidden", 403), ("302 Found", 302)] {
        let backend = Upstream::saying(format!("HTTP/1.1 {status}\r\nconnection: close\r\n\r\n")).await;
        let gateway = Running::before(backend.addr).await;
        let mut client = connect(&gateway).await;
        assert_eq!(refused(&mut client, ask(LIVE, "websocket")).await.status(), expected, "{status}");
    }
}

/// Agrees to a socket and sends for as long as it can.
async fn endless() -> Upstream {
    Upstream::raw(|mut stream| async move {
        let head = String::from_utf8(read_head(&mut stream).await).expect("text");
        let key = head.lines().find_map(|line| {
            let (name, value) = line.split_once(": ")?;
            name.eq_ignore_ascii_case("sec-websocket-key").then_some(value)
        });
        let accept = derive_accept_key(key.unwrap_or_default().as_bytes());
        let answer = format!(
            "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-accept: {accept}\r\n\r\n"
        );
        let _ = stream.write_all(answer.as_bytes()).await;
        while stream.write_all(&vec![0; 64 * 1024]).await.is_ok() {}
    })
    .await
}

impl Peer {
    /// Asks for a socket.
    async fn connect(&mut self, stream: u32) -> bool {
        let head = block(&[
            (":method", "CONNECT"),
            (":protocol", "websocket"),
            (":scheme", "http"),
            (":path", LIVE),
            (":authority", "gw.test"),
            ("sec-websocket-version", "13"),
        ]);
        self.send(frame(HEADERS, END_HEADERS, stream, &head)).await
    }
}

#[tokio::test]
async fn a_client_that_takes_nothing_loses_its_tunnel_and_nothing_else() {
    let backend = endless().await;
    let mut settings = config(backend.addr);
    settings.limits.write_stall = shop_config::Duration::millis(500);
    let gateway = Running::start(settings).await;
    let mut peer = Peer::with_settings(&gateway, &window(1000)).await;
    peer.connect(1).await;
    let mut taken = 0;
    let code = async {
        loop {
            match peer.frame().await.expect("the connection lives") {
                (RST_STREAM, _, 1, code) => return code[3],
                (DATA, _, 1, data) => taken += data.len(),
                (HEADERS, _, 1, head) => assert_eq!(head[0], 0x88, "a good status"),
                _ => {}
            }
        }
    };
    // It never makes room for more, and reads all that comes.
    assert_eq!(tokio::time::timeout(Duration::from_secs(10), code).await, Ok(CANCEL));
    assert_eq!(taken, 1000);
    eventually!(gateway.metric(ACTIVE) == Some(0.0));
    eventually!(backend.open.load(SeqCst) == 0);
    // Another stream is served as ever.
    peer.ask(3, "/health").await;
    while !matches!(peer.frame().await.expect("the connection lives"), (HEADERS, _, 3, head) if head[0] == 0x88) {}
}

#[tokio::test]
async fn tunnels_live_through_the_drain_and_are_cut_at_its_end() {
    let backend = echo().await;
    let gateway = Running::before(backend.addr).await;
    let mut client = connect(&gateway).await;
    let mut socket = socket(&mut client).await;
    gateway.shutdown.soft.cancel();
    returns(&mut socket, Message::text("during the drain")).await;
    assert!(!gateway.ended.is_finished());
    gateway.shutdown.hard.cancel();
    let ended = tokio::time::timeout(Duration::from_secs(10), gateway.ended).await;
    ended.expect("in time").expect("no panic").expect("ends well");
    assert!(!matches!(socket.next().await, Some(Ok(Message::Text(_) | Message::Binary(_)))));
    eventually!(backend.open.load(SeqCst) == 0);
}
