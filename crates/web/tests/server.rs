//! The real listener: both protocols, connections kept, limits on slow clients, and the way it stops.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use proptest::prelude::*;
use salvo::prelude::*;
use shop_config::Http;
use shop_runtime::Shutdown;
use shop_telemetry::Metrics;
use shop_web::{About, Health, Parts, serve, service};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// Longest any step may take; each takes milliseconds.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Clone, Default)]
struct Hold {
    entered: Arc<Notify>,
    go_on: Arc<Notify>,
}

#[handler]
impl Hold {
    async fn handle(&self) -> &'static str {
        self.entered.notify_one();
        self.go_on.notified().await;
        "held"
    }
}

#[handler]
async fn echo(req: &mut Request) -> String {
    let body = req.payload().await.map(|body| body.to_vec()).unwrap_or_default();
    String::from_utf8_lossy(&body).into_owned()
}

struct Running {
    addr: SocketAddr,
    shutdown: Shutdown,
    hold: Hold,
    ended: JoinHandle<anyhow::Result<()>>,
}

fn start(settings: Http) -> Running {
    let hold = Hold::default();
    let router =
        Router::new().push(Router::with_path("hold").get(hold.clone())).push(Router::with_path("echo").post(echo));
    let shutdown = Shutdown::new();
    let parts = Parts {
        about: About { title: "t", tags: &[] },
        metrics: Metrics::new("t"),
        health: Health::new(&shutdown),
        guard: shop_identity::Guard::open(),
        settings: settings.clone(),
    };
    let listening = shop_runtime::listen(([127, 0, 0, 1], 0).into(), "http.port (PORT)");
    let listener = listening.now_or_never().expect("at once").expect("a free port");
    let addr = listener.local_addr().expect("bound");
    let stop = shutdown.clone();
    let ended = tokio::spawn(async move { serve(listener, None, service(router, parts), &settings, stop).await });
    Running { addr, shutdown, hold, ended }
}

impl Running {
    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.addr).await.expect("listens")
    }

    async fn end(self) {
        timeout(PATIENCE, self.ended).await.expect("ends").expect("no panic").expect("no error");
    }
}

/// Reads one answer with a content length, or what comes until the end.
async fn answer(stream: &mut TcpStream) -> String {
    let mut text = Vec::new();
    let whole = async {
        loop {
            let seen = String::from_utf8_lossy(&text).into_owned();
            if let Some((head, body)) = seen.split_once("\r\n\r\n") {
                let length = head
                    .lines()
                    .find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
                if length.is_some_and(|length: usize| body.len() >= length) {
                    return seen;
                }
            }
            match stream.read_buf(&mut text).await {
                Ok(0) | Err(_) => return seen,
                Ok(_) => {}
            }
        }
    };
    timeout(PATIENCE, whole).await.expect("an answer in time")
}

async fn send(stream: &mut TcpStream, text: &str) {
    stream.write_all(text.as_bytes()).await.expect("open");
}

/// Whether the other side closes without another byte.
async fn closes(stream: &mut TcpStream) -> bool {
    let mut rest = Vec::new();
    matches!(timeout(PATIENCE, stream.read_to_end(&mut rest)).await, Ok(Ok(0) | Err(_)))
}

#[tokio::test]
async fn one_connection_serves_many_requests() {
    let server = start(Http::on(0));
    let mut stream = server.connect().await;
    for n in 0..3 {
        let body = format!("round {n}");
        send(&mut stream, &format!("POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n{body}", body.len()))
            .await;
        let answer = answer(&mut stream).await;
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with(&body), "{answer}");
    }
    server.shutdown.soft.cancel();
    assert!(closes(&mut stream).await);
    server.end().await;
}

/// One whose body is under way when it is refused would lose the answer with the connection.
#[tokio::test]
async fn what_a_refused_request_still_sends_costs_it_neither_the_answer_nor_the_connection() {
    let server = start(Http::on(0));
    let mut stream = server.connect().await;
    for expected in ["HTTP/1.1 404", "HTTP/1.1 404"] {
        send(&mut stream, "POST /nowhere HTTP/1.1\r\nhost: x\r\ncontent-length: 8\r\n\r\nhalf").await;
        send(&mut stream, "half").await;
        let answer = answer(&mut stream).await;
        assert!(answer.starts_with(expected) && !answer.contains("connection: close"), "{answer}");
    }
    // One that is long is not waited for.
    send(&mut stream, "POST /nowhere HTTP/1.1\r\nhost: x\r\ncontent-length: 999999\r\n\r\nhalf").await;
    assert!(answer(&mut stream).await.starts_with("HTTP/1.1 404"));
    assert!(closes(&mut stream).await);
    server.shutdown.soft.cancel();
    server.end().await;
}

#[tokio::test]
async fn http2_without_tls_works_on_the_same_port() {
    let server = start(Http::on(0));
    let stream = server.connect().await;
    let io = hyper_util::rt::TokioIo::new(stream);
    let executor = hyper_util::rt::TokioExecutor::new();
    let (mut client, driver) = hyper::client::conn::http2::handshake(executor, io).await.expect("h2");
    let driver = tokio::spawn(driver);
    let request = http::Request::post(format!("http://{}/echo", server.addr)).body("two".to_owned()).expect("valid");
    let response = timeout(PATIENCE, client.send_request(request)).await.expect("in time").expect("answers");
    assert_eq!((response.status().as_u16(), response.version()), (200, http::Version::HTTP_2));
    drop(client);
    server.shutdown.soft.cancel();
    server.end().await;
    driver.abort();
}

#[tokio::test]
async fn a_request_that_runs_is_finished_before_the_stop() {
    let server = start(Http::on(0));
    let (mut busy, mut idle) = (server.connect().await, server.connect().await);
    send(&mut idle, "GET /health/live HTTP/1.1\r\nhost: x\r\n\r\n").await;
    answer(&mut idle).await;
    send(&mut busy, "GET /hold HTTP/1.1\r\nhost: x\r\n\r\n").await;
    server.hold.entered.notified().await;
    server.shutdown.soft.cancel();
    assert!(closes(&mut idle).await, "an idle connection is closed at once");
    assert!(!server.ended.is_finished());
    server.hold.go_on.notify_one();
    assert!(answer(&mut busy).await.ends_with("held"));
    server.end().await;
}

#[tokio::test]
async fn a_connection_that_never_said_a_word_does_not_hold_up_the_stop() {
    // An hour: only the stop itself can end the connection within the test's patience.
    let server = start(Http { header_timeout: shop_config::Duration::secs(3600), ..Http::on(0) });
    let (mut silent, mut other) = (server.connect().await, server.connect().await);
    // Connections are accepted in order: with an answer to the second, the first was taken too.
    send(&mut other, "GET /health/live HTTP/1.1\r\nhost: x\r\n\r\n").await;
    answer(&mut other).await;
    server.shutdown.soft.cancel();
    assert!(closes(&mut silent).await);
    server.end().await;
}

#[tokio::test]
async fn a_stopping_server_that_lingers_serves_on_and_asks_clients_to_leave() {
    // An hour: only the hard stop ends it within the test's patience.
    let server = start(Http { linger: shop_config::Duration::secs(3600), ..Http::on(0) });
    let ask = "GET /health/live HTTP/1.1\r\nhost: x\r\n\r\n";
    let mut kept = server.connect().await;
    send(&mut kept, ask).await;
    assert!(!answer(&mut kept).await.contains("connection: close"));
    server.shutdown.soft.cancel();
    for mut stream in [kept, server.connect().await] {
        send(&mut stream, ask).await;
        let answer = answer(&mut stream).await;
        assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("connection: close"), "{answer}");
        assert!(closes(&mut stream).await);
    }
    assert!(!server.ended.is_finished());
    server.shutdown.hard.cancel();
    server.end().await;
}

#[tokio::test]
async fn the_hard_stop_does_not_wait() {
    let server = start(Http::on(0));
    let mut busy = server.connect().await;
    send(&mut busy, "GET /hold HTTP/1.1\r\nhost: x\r\n\r\n").await;
    server.hold.entered.notified().await;
    server.shutdown.soft.cancel();
    server.shutdown.hard.cancel();
    assert!(closes(&mut busy).await);
    server.end().await;
}

#[tokio::test]
async fn a_client_that_trickles_its_head_is_cut_off() {
    let server = start(Http { header_timeout: shop_config::Duration::millis(50), ..Http::on(0) });
    let mut stream = server.connect().await;
    send(&mut stream, "GET /health/live HT").await;
    let answer = answer(&mut stream).await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 408"), "{answer}");
    server.shutdown.soft.cancel();
    server.end().await;
}

#[tokio::test]
async fn a_kept_connection_may_wait_longer_for_its_next_request_than_its_first() {
    let server = start(Http { header_timeout: shop_config::Duration::millis(50), ..Http::on(0) });
    let mut stream = server.connect().await;
    for _ in 0..2 {
        send(&mut stream, "GET /health/live HTTP/1.1\r\nhost: x\r\n\r\n").await;
        assert!(answer(&mut stream).await.starts_with("HTTP/1.1 200"));
        // Not a wait for something to happen: the pause is what is being tested.
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    }
    server.shutdown.soft.cancel();
    server.end().await;
}

#[tokio::test]
async fn what_is_not_http_gets_no_html() {
    let server = start(Http::on(0));
    for text in [
        "nonsense\r\n\r\n",
        "GET / HTTP/9.9\r\n\r\n",
        "GET /\u{0} HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nbad header\r\n\r\n",
    ] {
        let mut stream = server.connect().await;
        send(&mut stream, text).await;
        let answer = answer(&mut stream).await.to_ascii_lowercase();
        assert!(!answer.contains("<html") && !answer.contains(" 500 "), "{answer}");
    }
    server.shutdown.soft.cancel();
    server.end().await;
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    /// Bytes that no client library would send.
    #[test]
    fn any_bytes_on_the_wire(head in prop_oneof![Just("GET /echo HTTP/1.1\r\nhost: x\r\n"), Just("POST /echo HTTP/1.1\r\n"), Just("")], noise in prop::collection::vec(any::<u8>(), 0..400)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let answer = runtime.block_on(async {
            let server = start(Http::on(0));
            let mut stream = server.connect().await;
            let _ = stream.write_all(&[head.as_bytes(), &noise, b"\r\n\r\n"].concat()).await;
            let _ = stream.shutdown().await;
            let mut text = Vec::new();
            let _ = timeout(PATIENCE, stream.read_to_end(&mut text)).await.expect("the connection ends");
            server.shutdown.soft.cancel();
            server.end().await;
            String::from_utf8_lossy(&text).to_ascii_lowercase()
        });
        prop_assert!(!answer.contains("<html") && !answer.contains("http/1.1 5"), "{}", answer);
    }
}
