//! Settings that are read again by the process: on SIGHUP, and when a file changes.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};

use futures_util::StreamExt;
use shop_testing::{Api, Process, Program, eventually, free_port};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpStream, UdpSocket};
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;

use crate::admin::request;
use crate::grpc::{Codec, Number, backend, channel_to, method, number};
use crate::support::{Client, Mortal, Reply, Upstream, get, read_head};

/// A gateway as a process of its own, whose settings come from a file.
struct Gateway {
    process: Process,
    addr: SocketAddr,
    file: PathBuf,
    _folder: tempfile::TempDir,
}

impl Gateway {
    async fn start(settings: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let (file, port) = (folder.path().join("gateway.toml"), free_port());
        std::fs::write(&file, settings).expect("writes");
        let process =
            Process::new("gateway").env("IDENTITY_MODE", "off").arg("--config").arg(file.display().to_string());
        let mut process = process
            .env("PORT", port.to_string())
            .env("ADMIN_PORT", "0")
            .env("SHOP_HTTP__HOST", "127.0.0.1")
            .env("LOG_FORMAT", "json")
            .env("RATE_LIMIT_ENABLED", "false");
        process.start(port).await;
        Self { process, addr: SocketAddr::from(([127, 0, 0, 1], port)), file, _folder: folder }
    }

    /// Puts another file in the place of the settings, as editors do.
    fn write(&self, settings: &str) {
        let new = self.file.with_extension("new");
        std::fs::write(&new, settings).expect("writes");
        std::fs::rename(new, &self.file).expect("renames");
    }

    async fn get(&self, path: &str) -> Reply {
        Client::connect(self.addr).await.send(get(path)).await.expect("an answer")
    }

    async fn metric(&self, name: &str) -> usize {
        let metrics = Client::connect(self.addr).await.send(request("GET", "/metrics", "")).await.expect("an answer");
        let text = String::from_utf8(metrics.body.to_vec()).expect("text");
        let line = text.lines().find_map(|line| line.strip_prefix(name)).expect(name);
        line.trim().parse().expect("a number")
    }
}

fn product(addr: SocketAddr, more: &str) -> String {
    format!("{more}\n[services.product]\nurls = ['http://{addr}']\ngrpc_urls = []\n")
}

#[tokio::test]
async fn a_changed_file_is_taken_over_and_a_wrong_one_changes_nothing() {
    let (old, new) = (Mortal::start(), Mortal::start());
    let gateway = Gateway::start(&product(old.addr, "admin.token = 'first-token'")).await;
    assert_eq!(gateway.get("/api/products").await.status(), 200);
    gateway.write(&product(new.addr, "admin.token = 'second-token'\nlog.level = 'debug'"));
    eventually!({
        gateway.get("/api/products").await;
        new.count() > 0
    });
    eventually!(gateway.process.output().contains("log.level holds from the next start on"));
    assert_eq!(gateway.metric("gateway_config_revision").await, 2);
    let output = gateway.process.output();
    assert!(output.contains("services.product.urls: ") && output.contains(&new.addr.to_string()), "{output}");
    assert!(output.contains(r#"admin.token: \"***\" -> \"***\""#) && !output.contains("-token"), "{output}");

    gateway.write("[services.product]\nurls = ['ftp://nowhere']\nweight = 1\n");
    eventually!(gateway.metric(r#"gateway_config_reloads_total{result="refused"}"#).await == 1);
    let output = gateway.process.output();
    for part in ["services.product.urls = ", "services.product.weight", &format!("file {}", gateway.file.display())] {
        assert!(output.contains(part), "no {part} in\n{output}");
    }
    assert_eq!(
        (gateway.get("/api/products").await.status(), gateway.metric("gateway_config_revision").await),
        (200, 2)
    );

    std::fs::remove_file(&gateway.file).expect("removes");
    eventually!(gateway.metric(r#"gateway_config_reloads_total{result="refused"}"#).await == 2);
    gateway.write(&product(old.addr, ""));
    let before = old.count();
    eventually!({
        gateway.get("/api/products").await;
        old.count() > before
    });
}

#[tokio::test]
async fn on_sighup_settings_are_read_again_at_once() {
    let upstream = Mortal::start();
    let gateway = Gateway::start(&product(upstream.addr, "limits.uri = 1000")).await;
    gateway.process.signal("HUP");
    eventually!(gateway.metric(r#"gateway_config_reloads_total{result="unchanged"}"#).await == 1);
    gateway.write(&product(upstream.addr, "limits.uri = 100"));
    gateway.process.signal("HUP");
    let long = format!("/api/products?{}", "x".repeat(200));
    eventually!(gateway.get(&long).await.status() == 414);
    // Counted once it is told, a moment after it is in force.
    eventually!(gateway.metric(r#"gateway_config_reloads_total{result="applied"}"#).await == 1);
    assert_eq!(gateway.metric("gateway_config_revision").await, 2);
}

#[tokio::test]
async fn a_hangup_before_it_serves_ends_nothing() {
    // Whoever is asked for backends says nothing, so that the start takes a while.
    let silent = UdpSocket::bind("127.0.0.1:0").await.expect("binds");
    let port = free_port();
    let mut process = Process::new("gateway")
        .env("IDENTITY_MODE", "off")
        .env("PORT", port.to_string())
        .env("ADMIN_PORT", "0")
        .env("PRODUCT_SERVICE_URLS", "dns://product.test:80")
        .env("SHOP_DISCOVERY__NAMESERVERS", silent.local_addr().expect("bound").to_string());
    process.spawn();
    silent.recv_from(&mut [0; 512]).await.expect("it looks for backends");
    process.signal("HUP");
    let api = Api::new(format_args!("127.0.0.1:{port}"));
    let ready = || api.try_send(api.request(http::Method::GET, "/health/ready"));
    eventually!(ready().await.is_ok_and(|reply| reply.status == 200));
    assert!(process.stop().await.success(), "{}", process.output());
}

#[tokio::test]
async fn settings_out_of_a_pipe_are_not_read_again() {
    let upstream = Mortal::start();
    let folder = tempfile::tempdir().expect("a folder");
    let pipe = folder.path().join("settings");
    assert!(Program::new("mkfifo").arg(&pipe).run().status.success(), "makes a pipe");
    let port = free_port();
    let mut process = Process::new("gateway")
        .env("IDENTITY_MODE", "off")
        .arg("--config")
        .arg(pipe.display().to_string())
        .env("PORT", port.to_string())
        .env("ADMIN_PORT", "0")
        .env("SHOP_HTTP__HOST", "127.0.0.1")
        .env("LOG_FORMAT", "json");
    let settings = product(upstream.addr, "");
    let writer = std::thread::spawn(move || std::fs::write(pipe, settings));
    process.start(port).await;
    writer.join().expect("no panic").expect("the gateway reads");
    process.signal("HUP");
    eventually!(process.output().contains("the settings stay as they were"));
    let get = |path| async move {
        let addr = SocketAddr::from(([127, 0, 0, 1], port));
        Client::connect(addr).await.send(request("GET", path, "")).await.expect("an answer")
    };
    assert_eq!((get("/api/products").await.status(), upstream.count()), (200, 1));
    let metrics = String::from_utf8(get("/metrics").await.body.to_vec()).expect("text");
    for line in ["gateway_config_revision 1", r#"gateway_config_reloads_total{result="refused"} 1"#] {
        assert!(metrics.contains(line), "no {line} in\n{metrics}");
    }
}

/// Streams a line for each number it is told.
async fn ticker() -> (Upstream, watch::Sender<usize>) {
    let (tell, told) = watch::channel(0);
    let upstream = Upstream::raw(move |mut stream| {
        let mut told = told.clone();
        async move {
            read_head(&mut stream).await;
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n").await;
            while told.changed().await.is_ok() {
                let line = format!("{}\n", *told.borrow_and_update());
                if stream.write_all(line.as_bytes()).await.is_err() {
                    return;
                }
            }
        }
    })
    .await;
    (upstream, tell)
}

/// Calls over one connection until told to stop, or the gateway closes it; counts what went well and what did not.
async fn load(addr: SocketAddr, good: Arc<AtomicUsize>, bad: Arc<AtomicUsize>, ends: Arc<AtomicBool>) {
    while !ends.load(SeqCst) {
        let Ok(stream) = TcpStream::connect(addr).await else {
            // A port that is closed refused no request.
            bad.fetch_add(usize::from(!ends.load(SeqCst)), SeqCst);
            return;
        };
        let mut client = Client::over(stream).await;
        while !ends.load(SeqCst) {
            let reply = client.send(get("/api/baskets/u1")).await;
            let is_good = reply.as_ref().is_ok_and(|reply| reply.status() == 200);
            if is_good { &good } else { &bad }.fetch_add(1, SeqCst);
            if !reply.is_ok_and(|reply| reply.header("connection") != Some("close")) {
                break;
            }
        }
    }
}

/// A service whose settings stay the same, with an HTTP answer and a gRPC call that go on all the time.
struct Streams {
    ticker: Upstream,
    grpc: SocketAddr,
    tick: watch::Sender<usize>,
    lines: BufReader<TcpStream>,
    say: mpsc::Sender<Number>,
    answers: tonic::Streaming<Number>,
}

impl Streams {
    /// Begins them. The process is that of `settings`, which are told where the service is.
    async fn begin(settings: impl Fn(SocketAddr, SocketAddr) -> String) -> (Gateway, Self) {
        let ((ticker, tick), grpc) = (ticker().await, backend().await);
        let gateway = Gateway::start(&settings(ticker.addr, grpc)).await;
        let mut lines = BufReader::new(TcpStream::connect(gateway.addr).await.expect("connects"));
        lines.write_all(b"GET /api/products HTTP/1.1\r\nhost: gw.test\r\n\r\n").await.expect("writes");
        let mut line = String::new();
        while line != "\r\n" {
            line.clear();
            assert!(lines.read_line(&mut line).await.expect("a head") > 0, "the stream begins");
        }
        let (say, said) = mpsc::channel(1);
        let mut client = channel_to(gateway.addr).await;
        let answer = client.streaming(tonic::Request::new(ReceiverStream::new(said)), method("Chat"), Codec::default());
        let answers = answer.await.expect("a stream").into_inner();
        (gateway, Self { ticker, grpc, tick, lines, say, answers })
    }

    /// Where the service is, for HTTP and gRPC.
    fn service(&self) -> (SocketAddr, SocketAddr) {
        (self.ticker.addr, self.grpc)
    }

    /// Both carry one more number.
    async fn go_on(&mut self, round: usize) {
        self.tick.send(round).expect("the upstream streams");
        // Chunked: a line with the size, one with the number, an empty one.
        let mut chunk = String::new();
        for _ in 0..3 {
            assert!(self.lines.read_line(&mut chunk).await.expect("a chunk") > 0, "round {round}: the stream goes on");
        }
        assert!(chunk.contains(&format!("\r\n{round}\n")), "round {round}: {chunk:?}");
        self.say.send(number(i64::try_from(round).expect("small"))).await.expect("the call goes on");
        let doubled = self.answers.next().await.expect("an answer").expect("the call goes on").id;
        assert_eq!(doubled, i64::try_from(2 * round).expect("small"));
    }

    /// Both end well.
    async fn end(mut self) {
        drop((self.tick, self.say));
        let mut rest = String::new();
        self.lines.read_to_string(&mut rest).await.expect("the end of the stream");
        assert!(rest.ends_with("0\r\n\r\n"), "{rest:?}");
        assert!(self.answers.next().await.is_none(), "the call ends well");
    }
}

/// Clients that call all the time, and what came of it.
#[derive(Default)]
struct Crowd {
    good: Arc<AtomicUsize>,
    bad: Arc<AtomicUsize>,
    ends: Arc<AtomicBool>,
    clients: Vec<tokio::task::JoinHandle<()>>,
}

impl Crowd {
    fn start(addr: SocketAddr) -> Self {
        let mut crowd = Self::default();
        let one = || load(addr, Arc::clone(&crowd.good), Arc::clone(&crowd.bad), Arc::clone(&crowd.ends));
        crowd.clients = (0..8).map(|_| tokio::spawn(one())).collect();
        crowd
    }

    async fn is_served(&self) {
        let before = self.good.load(SeqCst);
        eventually!(self.good.load(SeqCst) > before + 100);
    }

    /// Stops it; nothing went wrong.
    async fn end(self) {
        self.ends.store(true, SeqCst);
        for client in self.clients {
            client.await.expect("no panic");
        }
        assert_eq!(self.bad.load(SeqCst), 0, "of {} requests", self.good.load(SeqCst));
    }
}

/// Settings that differ in each round: another of three backends is missing, and the weights are others. Those of one
/// service stay.
fn rounds(backends: &[Mortal], http: SocketAddr, grpc: SocketAddr, round: usize) -> String {
    let mut text = String::from("drain_delay = '2s'\nhealth_check.interval = '200ms'\n");
    let _ = writeln!(text, "limits.uri = {}\ncors.origins = ['https://{round}.example']", 1000 + round);
    let _ = writeln!(text, "[services.product]\nurls = ['http://{http}']\ngrpc_urls = ['{grpc}']");
    let urls: Vec<_> = (0..3).filter(|place| *place != round % 3).map(|place| backends[place].addr).collect();
    let urls: Vec<_> = urls.iter().map(|addr| format!("'http://{addr};weight={}'", round % 7 + 1)).collect();
    let _ = writeln!(text, "[services.basket]\nurls = [{}]\ngrpc_urls = []", urls.join(","));
    text
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_reloads_and_an_end_under_load_fail_no_request_and_cut_no_stream() {
    let backends: Vec<_> = (0..3).map(|_| Mortal::start()).collect();
    let (mut gateway, mut streams) = Streams::begin(|http, grpc| rounds(&backends, http, grpc, 0)).await;
    let (http, grpc) = streams.service();
    let crowd = Crowd::start(gateway.addr);
    for round in 1..=100 {
        gateway.write(&rounds(&backends, http, grpc, round));
        gateway.process.signal("HUP");
        eventually!(gateway.metric("gateway_config_revision").await == round + 1);
        streams.go_on(round).await;
    }
    gateway.process.signal("TERM");
    crowd.is_served().await;
    crowd.end().await;
    streams.end().await;
    let ended = gateway.process.wait().await;
    assert!(ended.success(), "{ended}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_end_amid_reloads_under_load_fails_no_request_and_cuts_no_stream() {
    let backends: Vec<_> = (0..3).map(|_| Mortal::start()).collect();
    let (mut gateway, mut streams) = Streams::begin(|http, grpc| rounds(&backends, http, grpc, 0)).await;
    let (http, grpc) = streams.service();
    let crowd = Crowd::start(gateway.addr);
    let mut round = 0;
    let mut change = async |gateway: &Gateway, streams: &mut Streams| {
        round += 1;
        // Nobody waits until it is in force: the next one, or the end, comes while it is read.
        gateway.write(&rounds(&backends, http, grpc, round));
        gateway.process.signal("HUP");
        streams.go_on(round).await;
    };
    eventually!({
        change(&gateway, &mut streams).await;
        gateway.metric("gateway_config_revision").await > 20
    });
    gateway.process.signal("HUP");
    gateway.process.signal("TERM");
    eventually!({
        change(&gateway, &mut streams).await;
        gateway.get("/health/ready").await.status() == 503
    });
    crowd.is_served().await;
    crowd.end().await;
    // The delay ends, and then it closes what it can.
    eventually!({
        change(&gateway, &mut streams).await;
        gateway.get("/api/baskets/u1").await.header("x-gateway-reason") == Some("draining")
    });
    for _ in 0..50 {
        change(&gateway, &mut streams).await;
    }
    assert!(gateway.process.exited().is_none(), "it waits for its streams");
    streams.end().await;
    let ended = gateway.process.wait().await;
    assert!(ended.success(), "{ended}");
}
