//! HTTP over TLS: requests, who says nothing, and the way it stops.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use salvo::prelude::*;
use shop_config::Http;
use shop_runtime::Shutdown;
use shop_telemetry::Metrics;
use shop_testing::certificates::{Authority, Folder};
use shop_tls::{Client, ClientTls, H2, HTTP_1_1, TlsSettings};
use shop_web::{About, Health, Parts, serve, service};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

#[handler]
async fn hello() -> &'static str {
    "hello"
}

struct Running {
    addr: SocketAddr,
    shutdown: Shutdown,
    ended: JoinHandle<anyhow::Result<()>>,
    authority: Authority,
    folder: Folder,
}

fn start(settings: Http) -> Running {
    let (authority, folder) = (Authority::new(), Folder::new());
    let (cert, key) = folder.put_pair("server", &authority.good(&["127.0.0.1"]));
    let tls = TlsSettings { cert_file: Some(cert), key_file: Some(key), ..TlsSettings::default() };
    let tls = tls.server(|_| {}).expect("good files").map(Arc::new);
    let shutdown = Shutdown::new();
    let parts = Parts {
        about: About { title: "t", tags: &[] },
        metrics: Metrics::new("t"),
        health: Health::new(&shutdown),
        guard: shop_identity::Guard::open(),
        settings: settings.clone(),
    };
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.set_nonblocking(true).expect("a socket");
    let addr = listener.local_addr().expect("bound");
    let (stop, router) = (shutdown.clone(), Router::with_path("hello").get(hello));
    let ended = tokio::spawn(async move { serve(listener, tls, service(router, parts), &settings, stop).await });
    Running { addr, shutdown, ended, authority, folder }
}

impl Running {
    async fn dial(&self, protocol: &'static [u8]) -> TlsStream<TcpStream> {
        let ca_file = Some(self.folder.put("ca.crt", self.authority.pem()));
        let client = Client::open(ClientTls { ca_file, ..ClientTls::default() }, protocol).expect("good files");
        let name = "127.0.0.1".try_into().expect("an address");
        let stream = TcpStream::connect(self.addr).await.expect("listens");
        TlsConnector::from(client.config()).connect(name, stream).await.expect("shakes hands")
    }
}

async fn get(stream: &mut TlsStream<TcpStream>) -> String {
    stream.write_all(b"GET /hello HTTP/1.1\r\nhost: a\r\n\r\n").await.expect("open");
    let mut answer = Vec::new();
    while !answer.ends_with(b"hello") {
        assert!(stream.read_buf(&mut answer).await.expect("open") > 0, "{}", String::from_utf8_lossy(&answer));
    }
    String::from_utf8(answer).expect("text")
}

#[tokio::test]
async fn both_protocols_are_spoken_and_connections_are_kept() {
    let running = start(Http::on(0));
    let mut stream = running.dial(HTTP_1_1).await;
    for _ in 0..3 {
        assert!(get(&mut stream).await.starts_with("HTTP/1.1 200"));
    }
    let mut stream = running.dial(H2).await;
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(H2));
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.expect("open");
    let mut head = [0; 9];
    stream.read_exact(&mut head).await.expect("an answer");
    assert_eq!(head[3], 4, "SETTINGS come first");
}

#[tokio::test]
async fn who_speaks_cleartext_gets_no_answer() {
    let running = start(Http::on(0));
    let mut stream = TcpStream::connect(running.addr).await.expect("listens");
    stream.write_all(b"GET /hello HTTP/1.1\r\nhost: a\r\n\r\n").await.expect("open");
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    assert!(!String::from_utf8_lossy(&answer).contains("HTTP"), "{answer:?}");
}

#[tokio::test]
async fn a_handshake_and_a_head_have_their_time_and_no_more() {
    let running = start(Http { header_timeout: shop_config::Duration::millis(200), ..Http::on(0) });
    let mut silent = TcpStream::connect(running.addr).await.expect("listens");
    let mut shaken = running.dial(HTTP_1_1).await;
    let ended = async {
        let _ = silent.read(&mut [0]).await;
        let _ = shaken.read(&mut [0]).await;
    };
    tokio::time::timeout(Duration::from_secs(10), ended).await.expect("both are let go");
}

#[tokio::test]
async fn silent_connections_end_at_the_stop() {
    let running = start(Http::on(0));
    let mut silent = TcpStream::connect(running.addr).await.expect("listens");
    let mut shaken = running.dial(HTTP_1_1).await;
    get(&mut running.dial(HTTP_1_1).await).await;
    running.shutdown.soft.cancel();
    let ended = tokio::time::timeout(Duration::from_secs(10), running.ended).await;
    ended.expect("in time").expect("does not panic").expect("ends well");
    assert_eq!(silent.read(&mut [0]).await.unwrap_or(0), 0);
    assert_eq!(shaken.read(&mut [0]).await.unwrap_or(0), 0);
}
