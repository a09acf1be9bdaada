//! Backends that are processes, killed while calls are on the wire to them.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};

use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use shop_config::Duration;
use shop_gateway::Config;
use shop_proto::product::v1::GetProductRequest as Number;
use shop_testing::{Process, eventually, free_port};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tonic::{Code, Status};

use crate::grpc::{Codec, channel_to, method, number};
use crate::support::{Client, Running, backends, config, get, request};

/// Calls held on each of three backends. Five failures in a row open a breaker, and an answer that came just before may be
/// counted among them.
const HELD: usize = 12;
/// Clients that call one after the other, so that each has at most one call on the wire.
const CLIENTS: usize = 4;

/// What a backend counts.
struct Counts {
    held: AtomicUsize,
    served: AtomicUsize,
    released: watch::Sender<bool>,
}

/// Serves HTTP and gRPC until killed: `hold` waits until somebody asks for `release`.
#[tokio::test]
#[ignore = "the other end of the tests here, which start it as a process of its own"]
async fn a_process_that_serves() {
    let Ok(port) = std::env::var("BACKEND_PORT") else { return };
    let listener = TcpListener::bind(format!("127.0.0.1:{port}")).await.expect("binds");
    let counts = Arc::new(Counts {
        held: AtomicUsize::new(0),
        served: AtomicUsize::new(0),
        released: watch::Sender::new(false),
    });
    loop {
        let (stream, _) = listener.accept().await.expect("accepts");
        let counts = Arc::clone(&counts);
        let service = service_fn(move |request| serve(Arc::clone(&counts), request));
        tokio::spawn(async move {
            let server = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
            let _ = server.serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn serve(
    counts: Arc<Counts>,
    request: Request<Incoming>,
) -> Result<Response<BoxBody<Bytes, Infallible>>, Infallible> {
    let (head, body) = request.into_parts();
    let _ = body.collect().await;
    let word = head.uri.path().rsplit('/').next().unwrap_or_default().to_ascii_lowercase();
    let said = match word.as_str() {
        "ready" => "well".to_owned(),
        // A health check of gRPC: serving.
        "check" => "\0\0\0\0\u{2}\u{8}\u{1}".to_owned(),
        "state" => format!("{} {}", counts.held.load(SeqCst), counts.served.load(SeqCst)),
        "release" => {
            counts.released.send_replace(true);
            String::new()
        }
        _ => {
            if word == "hold" {
                counts.held.fetch_add(1, SeqCst);
                let _ = counts.released.subscribe().wait_for(|released| *released).await;
            }
            counts.served.fetch_add(1, SeqCst);
            // An empty message, as gRPC frames it.
            "\0\0\0\0\0".to_owned()
        }
    };
    let body = Full::new(Bytes::from(said));
    if head.headers.get("content-type").is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc")) {
        let ok = http::HeaderMap::from_iter([(
            http::HeaderName::from_static("grpc-status"),
            http::HeaderValue::from_static("0"),
        )]);
        let answer = Response::new(body.with_trailers(async { Some(Ok(ok)) }).boxed());
        return Ok(with_kind(answer));
    }
    Ok(Response::new(body.boxed()))
}

fn with_kind<B>(mut answer: Response<B>) -> Response<B> {
    answer.headers_mut().insert("content-type", http::HeaderValue::from_static("application/grpc"));
    answer
}

/// A backend, and where it listens.
struct Backend {
    process: Process,
    port: u16,
}

impl Backend {
    async fn start() -> Self {
        let port = free_port();
        let test = std::env::current_exe().expect("knows its own path");
        let process = Process::new(test.to_str().expect("a path in UTF-8"))
            .arg("--exact")
            .arg("resilience::a_process_that_serves")
            .arg("--ignored")
            .env("BACKEND_PORT", port.to_string());
        let mut backend = Self { process, port };
        backend.resume().await;
        backend
    }

    async fn resume(&mut self) {
        self.process.start(self.port).await;
    }

    fn addr(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    async fn ask(&self, path: &str) -> String {
        let reply = Client::connect(self.addr()).await.send(get(path)).await.expect("an answer");
        String::from_utf8_lossy(&reply.body).into_owned()
    }

    /// Calls that are held, and calls that were served.
    async fn counts(&self) -> (usize, usize) {
        let state = self.ask("/state").await;
        let (held, served) = state.split_once(' ').expect("two numbers");
        (held.parse().expect("a number"), served.parse().expect("a number"))
    }
}

/// As a gateway is by default, but quicker to notice.
fn settings(three: &[Backend; 3], is_grpc: bool) -> Config {
    let addrs = three.each_ref().map(Backend::addr);
    let mut settings = config(addrs[0]);
    settings.services["product"].urls = backends(if is_grpc { &[] } else { &addrs });
    settings.services["product"].grpc_urls = backends(if is_grpc { &addrs } else { &[] });
    for other in ["basket", "payment", "notification"] {
        settings.services[other].enabled = false;
    }
    settings.health_check.enabled = true;
    settings.health_check.interval = Duration::millis(50);
    settings.retries.enabled = true;
    settings.circuit_breaker.enabled = true;
    settings.circuit_breaker.timeout = Duration::millis(300);
    settings.load_balancer.slow_start = Duration::secs(0);
    settings
}

async fn all_healthy(gateway: &Running) -> bool {
    let health = gateway.look("/health").await.json();
    let backends = health["services"]["product"]["backends"].as_array().cloned().unwrap_or_default();
    backends.len() == 3 && backends.iter().all(|backend| backend["check"] == "healthy")
}

fn breaker_of(gateway: &Running, backend: &Backend) -> Option<f64> {
    let addr = backend.addr();
    gateway.metric(&format!(r#"gateway_circuit_breaker_state{{backend="http://{addr}",service="product"}}"#))
}

/// How a call ended: well, or for which reason not.
type End = Result<(), String>;

/// One call that must not be made twice, over a connection of its own.
async fn http(addr: SocketAddr, word: &'static str) -> End {
    let reply = Client::connect(addr).await.send(request("POST", &format!("/api/products/{word}"), "an order")).await;
    let reply = reply.expect("an answer");
    let why = || format!("{} {}", reply.status(), reply.header("x-gateway-reason").unwrap_or("the backend"));
    if reply.status() == 200 { Ok(()) } else { Err(why()) }
}

async fn grpc(addr: SocketAddr, word: &'static str) -> End {
    let mut client = channel_to(addr).await;
    let answer = client.unary::<_, Number, _>(tonic::Request::new(number(1)), method(word), Codec::default()).await;
    let why = |status: Status| {
        assert_eq!(status.code(), Code::Unavailable, "{status:?}");
        let reason = status.metadata().get("x-gateway-reason").and_then(|reason| reason.to_str().ok());
        format!("unavailable {}", reason.unwrap_or("the backend"))
    };
    answer.map(drop).map_err(why)
}

/// Calls until told to stop.
struct Load {
    stop: Arc<AtomicBool>,
    made: Arc<AtomicUsize>,
    clients: Vec<tokio::task::JoinHandle<Vec<String>>>,
}

impl Load {
    fn start<F>(addr: SocketAddr, call: fn(SocketAddr, &'static str) -> F) -> Self
    where
        F: Future<Output = End> + Send + 'static,
    {
        let (stop, made) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let client = |_| {
            let (stop, made) = (Arc::clone(&stop), Arc::clone(&made));
            tokio::spawn(async move {
                let mut bad = Vec::new();
                while !stop.load(SeqCst) {
                    bad.extend(call(addr, "Twice").await.err());
                    made.fetch_add(1, SeqCst);
                }
                bad
            })
        };
        let clients = (0..CLIENTS).map(client).collect();
        Self { stop, made, clients }
    }

    async fn goes_on(&self) {
        let at = self.made.load(SeqCst);
        eventually!(self.made.load(SeqCst) > at + 100);
    }

    async fn stop(self) -> Vec<String> {
        self.stop.store(true, SeqCst);
        let ended = futures_util::future::join_all(self.clients).await;
        ended.into_iter().flat_map(|bad| bad.expect("ends")).collect()
    }
}

/// One of three is killed with calls on the wire to it and four clients calling; then all; then they come back.
async fn one_of_three<F>(is_grpc: bool, hold: &'static str, call: fn(SocketAddr, &'static str) -> F)
where
    F: Future<Output = End> + Send + 'static,
{
    let mut three = [Backend::start().await, Backend::start().await, Backend::start().await];
    let gateway = Running::start(settings(&three, is_grpc)).await;
    eventually!(all_healthy(&gateway).await);
    let waiting: Vec<_> = (0..3 * HELD).map(|_| tokio::spawn(call(gateway.addr, hold))).collect();
    for backend in &three {
        eventually!(backend.counts().await.0 == HELD);
    }
    let load = Load::start(gateway.addr, call);
    for backend in &three {
        eventually!(backend.counts().await.1 > 20);
    }

    three[1].process.kill();
    eventually!(breaker_of(&gateway, &three[1]) == Some(2.0));
    load.goes_on().await;
    three[0].ask("/release").await;
    three[2].ask("/release").await;
    let ends = futures_util::future::join_all(waiting).await;
    let bad: Vec<_> = ends.into_iter().filter_map(|end| end.expect("ends").err()).collect();
    assert_eq!(bad.len(), HELD, "{bad:?}");
    assert!(bad.iter().all(|why| why.ends_with("upstream_reset")), "{bad:?}");

    three[1].resume().await;
    eventually!(three[1].counts().await.1 > 20);
    eventually!(breaker_of(&gateway, &three[1]) == Some(0.0));
    let bad = load.stop().await;
    assert!(bad.len() <= CLIENTS, "{} of those that call one by one: {bad:?}", bad.len());
    assert!(bad.iter().all(|why| why.ends_with("upstream_reset")), "{bad:?}");

    for backend in &mut three {
        backend.process.kill();
    }
    let mut reasons = Vec::new();
    eventually!({
        let why = call(gateway.addr, "Twice").await.expect_err("nobody is there");
        let is_open = why.ends_with("breaker_open");
        reasons.push(why);
        is_open
    });
    let known = ["upstream_reset", "connect_failed", "breaker_open"];
    assert!(reasons.iter().all(|why| known.iter().any(|reason| why.ends_with(reason))), "{reasons:?}");
    three[2].resume().await;
    eventually!(call(gateway.addr, "Twice").await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_http_backend_killed_costs_the_calls_on_the_wire_to_it_and_no_others() {
    one_of_three(false, "hold", http).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grpc_backend_killed_costs_the_calls_on_the_wire_to_it_and_no_others() {
    one_of_three(true, "Hold", grpc).await;
}
