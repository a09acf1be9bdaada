//! A running gateway, upstreams that do as they are told, and a client that sees every byte.

use std::convert::Infallible;
use std::future::Future;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Once};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::{Value, json};
use shop_gateway::settings::{BackendUrl, Backends, Route, Service};
use shop_gateway::{Config, Gateway, Handle};
use shop_identity::IdentitySettings;
use shop_runtime::Shutdown;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// Gateway, clients and backends of all tests at once are this one process; many systems give it 1024 files unless asked.
pub(crate) fn more_files() {
    static ASKED: Once = Once::new();
    ASKED.call_once(|| {
        let limit = getrlimit(Resource::Nofile);
        // What cannot be raised stays as it is.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
    });
}

/// A gateway on free ports.
pub(crate) struct Running {
    pub(crate) addr: SocketAddr,
    /// Where operators ask.
    pub(crate) operators: SocketAddr,
    /// With TLS, when settings name a certificate.
    pub(crate) https: Option<SocketAddr>,
    /// Listeners by name.
    pub(crate) named: Vec<(String, SocketAddr)>,
    pub(crate) shutdown: Shutdown,
    pub(crate) ended: JoinHandle<anyhow::Result<()>>,
    pub(crate) metrics: shop_telemetry::Metrics,
    pub(crate) handle: Handle,
}

/// Settings for tests: free ports, two workers, all services at `upstream`; no rate limit, breakers, checks and retries,
/// so that a test counts what it caused.
pub(crate) fn config(upstream: SocketAddr) -> Config {
    let mut config = Config::default();
    config.http.host = IpAddr::V4(Ipv4Addr::LOCALHOST);
    config.http.port = 0;
    config.admin.port = 0;
    config.workers = 2;
    config.identity = IdentitySettings::off();
    config.rate_limit.enabled = false;
    config.circuit_breaker.enabled = false;
    config.health_check.enabled = false;
    config.retries.enabled = false;
    for (_, service) in config.services.iter_mut() {
        service.urls = backends(&[upstream]);
        service.grpc_urls = backends(&[upstream]);
    }
    config
}

pub(crate) fn backends(addrs: &[SocketAddr]) -> Backends {
    addrs.iter().map(|addr| BackendUrl::new(addr.ip().to_string(), addr.port())).collect::<Vec<_>>().into()
}

/// A route as settings write it.
pub(crate) fn route(text: &str) -> Box<Route> {
    toml::from_str(text).expect("a route")
}

/// A service with an HTTP API at these addresses.
pub(crate) fn service(addrs: &[SocketAddr]) -> Service {
    Service { urls: backends(addrs), ..Service::default() }
}

/// An address at which nobody listens, unless a test makes somebody.
pub(crate) fn nobody() -> SocketAddr {
    ([127, 0, 0, 1], shop_testing::free_port()).into()
}

impl Running {
    pub(crate) async fn start(config: Config) -> Self {
        more_files();
        let shutdown = Shutdown::new();
        let metrics = shop_telemetry::Metrics::new("gateway");
        let gateway = Gateway::build(config, metrics.clone(), &shutdown).await.expect("builds");
        let addr = gateway.http_addr();
        let (operators, https) = (gateway.admin_addr(), gateway.https_addr());
        let named = gateway.listener_addrs().to_vec();
        let handle = gateway.handle();
        let ended = tokio::spawn(gateway.run(shutdown.clone()));
        Self { addr, operators, https, named, shutdown, ended, metrics, handle }
    }

    /// In front of one upstream.
    pub(crate) async fn before(upstream: SocketAddr) -> Self {
        Self::start(config(upstream)).await
    }

    /// Sends raw bytes over a new connection and reads until the gateway closes it.
    pub(crate) async fn raw(&self, request: impl AsRef<[u8]>) -> String {
        let mut stream = TcpStream::connect(self.addr).await.expect("connects");
        stream.write_all(request.as_ref()).await.expect("writes");
        let mut answer = Vec::new();
        let read = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut answer)).await;
        // A reset after the answer is as good as a close.
        let _ = read.expect("the gateway closes the connection");
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// One request over a new connection.
    pub(crate) async fn send(&self, request: Request<Full<Bytes>>) -> Reply {
        self.try_send(request).await.expect("an answer")
    }

    pub(crate) async fn try_send(&self, request: Request<Full<Bytes>>) -> Result<Reply, hyper::Error> {
        let mut client = Client::connect(self.addr).await;
        client.send(request).await
    }

    pub(crate) async fn get(&self, path: &str) -> Reply {
        self.send(get(path)).await
    }

    /// One request to the listener of operators.
    pub(crate) async fn operate(&self, request: Request<Full<Bytes>>) -> Reply {
        Client::connect(self.operators).await.send(request).await.expect("an answer")
    }

    /// What operators see at `path`.
    pub(crate) async fn look(&self, path: &str) -> Reply {
        self.operate(get(path)).await
    }

    pub(crate) fn metric(&self, line: &str) -> Option<f64> {
        let text = self.metrics.render();
        let found = text.lines().find(|candidate| candidate.starts_with(line))?;
        found.rsplit(' ').next()?.parse().ok()
    }
}

/// A keep-alive connection to the gateway.
pub(crate) struct Client(hyper::client::conn::http1::SendRequest<Full<Bytes>>);

impl Client {
    pub(crate) async fn connect(addr: SocketAddr) -> Self {
        Self::over(TcpStream::connect(addr).await.expect("connects")).await
    }

    pub(crate) async fn over(stream: TcpStream) -> Self {
        let (sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.expect("shakes hands");
        tokio::spawn(connection);
        Self(sender)
    }

    pub(crate) async fn send(&mut self, request: Request<Full<Bytes>>) -> Result<Reply, hyper::Error> {
        self.0.ready().await?;
        let (head, body) = self.0.send_request(request).await?.into_parts();
        let body = body.collect().await?;
        let trailers = body.trailers().cloned();
        Ok(Reply { head, trailers, body: body.to_bytes() })
    }
}

pub(crate) fn get(path: &str) -> Request<Full<Bytes>> {
    request("GET", path, "")
}

pub(crate) fn request(method: &str, path: &str, body: impl Into<Bytes>) -> Request<Full<Bytes>> {
    let request = Request::builder().method(method).uri(path).header("host", "gw.test");
    request.body(Full::new(body.into())).expect("a request")
}

/// An answer, read to its end.
pub(crate) struct Reply {
    pub(crate) head: http::response::Parts,
    pub(crate) trailers: Option<http::HeaderMap>,
    pub(crate) body: Bytes,
}

impl Reply {
    pub(crate) fn status(&self) -> u16 {
        self.head.status.as_u16()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.headers.get(name).map(|value| value.to_str().expect("text"))
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {:?}", self.body))
    }

    /// Asserts that the gateway itself answered, with one word in three places.
    #[track_caller]
    pub(crate) fn refused(&self, status: u16, code: &str) {
        let text = String::from_utf8_lossy(&self.body);
        assert_eq!((self.status(), self.header("x-gateway-reason")), (status, Some(code)), "{text}");
        assert_eq!(self.header("content-type"), Some("application/problem+json"));
        let problem = self.json();
        assert_eq!((&problem["status"], &problem["code"]), (&json!(status), &json!(code)));
        assert_eq!(problem["request_id"].as_str(), self.header("x-request-id"));
    }
}

/// A server written for one test.
pub(crate) struct Upstream {
    pub(crate) addr: SocketAddr,
    pub(crate) connections: Arc<AtomicUsize>,
    /// Connections that are not closed.
    pub(crate) open: Arc<AtomicUsize>,
    pub(crate) requests: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Upstream {
    /// Hands every connection to `serve`.
    pub(crate) async fn raw<F, S>(serve: S) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
        S: Fn(TcpStream) -> F + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
        Self::on(listener, serve)
    }

    pub(crate) fn on<F, S>(listener: TcpListener, serve: S) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
        S: Fn(TcpStream) -> F + Send + 'static,
    {
        let addr = listener.local_addr().expect("bound");
        let connections = Arc::new(AtomicUsize::new(0));
        let (counter, open) = (Arc::clone(&connections), Arc::new(AtomicUsize::new(0)));
        let held = Arc::clone(&open);
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.expect("accepts");
                counter.fetch_add(1, SeqCst);
                held.fetch_add(1, SeqCst);
                let (served, held) = (serve(stream), Arc::clone(&held));
                tokio::spawn(async move {
                    served.await;
                    held.fetch_sub(1, SeqCst);
                });
            }
        });
        Self { addr, connections, open, requests: Arc::default(), task }
    }

    /// Reads one head, writes `answer` and closes.
    pub(crate) async fn saying(answer: impl Into<Bytes>) -> Self {
        let answer = answer.into();
        Self::raw(move |mut stream| {
            let answer = answer.clone();
            async move {
                read_head(&mut stream).await;
                let _ = stream.write_all(&answer).await;
                let _ = stream.shutdown().await;
                // Read what is left, so that closing does not reset the connection before the answer is read.
                let _ = stream.read_to_end(&mut Vec::new()).await;
            }
        })
        .await
    }

    /// Answers with `serve`, over keep-alive HTTP/1.1.
    pub(crate) async fn serving<F, S>(serve: S) -> Self
    where
        F: Future<Output = Response<Full<Bytes>>> + Send + 'static,
        S: Fn(Request<Incoming>) -> F + Send + Sync + 'static,
    {
        let serve = Arc::new(serve);
        let requests = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&requests);
        let mut upstream = Self::raw(move |stream| {
            let (serve, counter) = (Arc::clone(&serve), Arc::clone(&counter));
            let service = service_fn(move |request| {
                counter.fetch_add(1, SeqCst);
                let answer = serve(request);
                async move { Ok::<_, Infallible>(answer.await) }
            });
            async move {
                let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
            }
        })
        .await;
        upstream.requests = requests;
        upstream
    }

    /// Says in JSON what it received.
    pub(crate) async fn echo() -> Self {
        Self::serving(|request| async move {
            let (head, body) = request.into_parts();
            let body = body.collect().await.map(|body| (body.trailers().cloned(), body.to_bytes()));
            let (trailers, body) = body.unwrap_or_default();
            let pairs = |headers: &http::HeaderMap| {
                let pair = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
                    json!([name.as_str(), String::from_utf8_lossy(value.as_bytes())])
                };
                headers.iter().map(pair).collect::<Value>()
            };
            let seen = json!({
                "method": head.method.as_str(),
                "target": head.uri.to_string(),
                "headers": pairs(&head.headers),
                "trailers": trailers.as_ref().map(pairs),
                "body": String::from_utf8_lossy(&body),
            });
            Response::new(Full::new(Bytes::from(seen.to_string())))
        })
        .await
    }
}

/// A server on a runtime of its own: killed, all its connections break at once, as with a process.
pub(crate) struct Mortal {
    pub(crate) addr: SocketAddr,
    /// Requests other than health checks.
    pub(crate) requests: Arc<AtomicUsize>,
    /// Health checks.
    pub(crate) checks: Arc<AtomicUsize>,
    /// What health checks are answered.
    pub(crate) ready: Arc<AtomicU16>,
    runtime: Option<tokio::runtime::Runtime>,
}

impl Mortal {
    pub(crate) fn start() -> Self {
        // Of the ports that nobody else gets when it dies.
        Self::at(nobody())
    }

    /// At an address where another one died.
    pub(crate) fn at(addr: SocketAddr) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let (requests, ready) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicU16::new(200)));
        let checks = Arc::new(AtomicUsize::new(0));
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
        socket.set_reuse_address(true).expect("reuses");
        socket.set_nonblocking(true).expect("does not block");
        socket.bind(&addr.into()).expect("binds");
        socket.listen(128).expect("listens");
        let _entered = runtime.enter();
        let listener = TcpListener::from_std(socket.into()).expect("a listener");
        let addr = listener.local_addr().expect("bound");
        let (counter, status, asked) = (Arc::clone(&requests), Arc::clone(&ready), Arc::clone(&checks));
        runtime.spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.expect("accepts");
                let (counter, status, asked) = (Arc::clone(&counter), Arc::clone(&status), Arc::clone(&asked));
                let service = service_fn(move |request: Request<Incoming>| {
                    let (counter, status, asked) = (Arc::clone(&counter), Arc::clone(&status), Arc::clone(&asked));
                    async move {
                        let mut answer = Response::new(Full::new(Bytes::from_static(b"well")));
                        if request.uri().path() == "/health/ready" {
                            asked.fetch_add(1, SeqCst);
                            *answer.status_mut() = http::StatusCode::from_u16(status.load(SeqCst)).expect("a status");
                        } else {
                            counter.fetch_add(1, SeqCst);
                            let _ = request.into_body().collect().await;
                        }
                        Ok::<_, Infallible>(answer)
                    }
                });
                tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
            }
        });
        Self { addr, requests, checks, ready, runtime: Some(runtime) }
    }

    pub(crate) fn count(&self) -> usize {
        self.requests.load(SeqCst)
    }

    pub(crate) fn kill(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Drop for Mortal {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The values of a header in what [`Upstream::echo`] answered.
pub(crate) fn echoed(seen: &Value, name: &str) -> Vec<String> {
    let pairs = seen["headers"].as_array().expect("headers");
    let values = pairs.iter().filter(|pair| pair[0] == name).map(|pair| pair[1].as_str().expect("text").to_owned());
    values.collect()
}

/// Reads up to the empty line; what came after it too.
pub(crate) async fn read_head(stream: &mut TcpStream) -> Vec<u8> {
    let mut seen = Vec::new();
    while !seen.windows(4).any(|window| window == b"\r\n\r\n") {
        if stream.read_buf(&mut seen).await.unwrap_or(0) == 0 {
            break;
        }
    }
    seen
}

/// Closes with RST instead of FIN.
pub(crate) fn reset(stream: TcpStream) {
    let stream = stream.into_std().expect("a socket");
    socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).expect("lingers not");
}

/// A client over HTTP/2 that sends its headers as they are.
pub(crate) async fn http2(addr: SocketAddr) -> hyper::client::conn::http2::SendRequest<Full<Bytes>> {
    let stream = TcpStream::connect(addr).await.expect("connects");
    let shaken = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await;
    let (sender, connection) = shaken.expect("shakes hands");
    tokio::spawn(connection);
    sender
}
