//! Hostile clients: whatever they send, or do not, the gateway answers cleanly or closes, and the others do not notice.

use std::convert::Infallible;
use std::io::Write as _;
use std::net::SocketAddr;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http::Method;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use proptest::prelude::*;
use proptest::test_runner::{Config as Trials, TestRunner};
use rustix::process::{Pid, Resource, Rlimit, prlimit};
use serde_json::Value;
use shop_testing::{Api, Child, Process, eventually, free_port};
use tempfile::NamedTempFile;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use crate::attacks::{ATTACKS, Attack, Attacker};
use crate::support::{Running, Upstream, config, get, more_files, read_head};

/// As long as an attack lasts at least, and at most.
const ATTACK: Duration = Duration::from_secs(3);
const LONGEST_ATTACK: Duration = Duration::from_secs(20);
/// So many do the same at once, from an address each.
const ATTACKERS: u8 = 6;
/// What they may cost in memory, all together.
const MOST_MEMORY: usize = 128 * 1024 * 1024;

#[tokio::test]
async fn methods_that_are_not_forwarded_are_refused() {
    let upstream = Upstream::echo().await;
    let gateway = Running::before(upstream.addr).await;
    for request in ["CONNECT a:80 HTTP/1.1\r\nhost: a:80\r\n\r\n", "TRACE /api/products HTTP/1.1\r\nhost: a\r\n\r\n"] {
        let answer = gateway.raw(request).await;
        assert!(answer.starts_with("HTTP/1.1 405 ") && answer.contains("method_refused"), "{request}: {answer}");
    }
    assert_eq!(upstream.requests.load(std::sync::atomic::Ordering::SeqCst), 0);
}

/// Bytes that look like a request in places, with any one place broken.
fn requests() -> impl Strategy<Value = Vec<u8>> {
    let method = prop_oneof!["GET|POST|PUT|HEAD|OPTIONS|DELETE", "[A-Z!#]{1,12}", any::<String>()];
    let path = prop_oneof![
        "/api/(products|baskets|users)(/[a-z0-9%./\\\\;?&=~-]{0,20}){0,4}",
        "/(health|metrics|admin)[/a-z%.]{0,20}",
        any::<String>(),
    ];
    let name = prop_oneof![
        "host|connection|te|transfer-encoding|content-length|expect|upgrade|forwarded|x-forwarded-for|x-request-id|traceparent|cookie",
        "[A-Za-z0-9_-]{1,12}",
        any::<String>(),
    ];
    let value = prop_oneof!["a|close|chunked|0|3|trailers|100-continue|h2c|[0-9a-f]{1,40}", any::<String>()];
    let header = (name, value).prop_map(|(name, value)| format!("{name}: {value}\r\n"));
    let body = prop_oneof![Just(Vec::new()), proptest::collection::vec(any::<u8>(), 0..64)];
    (method, path, proptest::collection::vec(header, 0..6), body).prop_map(|(method, path, headers, body)| {
        let head = format!("{method} {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n{}\r\n", headers.concat());
        [head.into_bytes(), body].concat()
    })
}

#[test]
fn no_input_makes_the_gateway_fail() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let (_upstream, gateway) = runtime.block_on(async {
        let upstream = Upstream::echo().await;
        let mut settings = config(upstream.addr);
        // Requests that wait for more of themselves are given up on soon.
        settings.http.header_timeout = shop_config::Duration::millis(100);
        settings.limits.body_idle = shop_config::Duration::millis(100);
        let gateway = Running::start(settings).await;
        (upstream, gateway)
    });
    let trials = Trials { cases: 300, failure_persistence: None, ..Trials::default() };
    let check = TestRunner::new(trials).run(&requests(), |bytes| {
        let answer = runtime.block_on(gateway.raw(&bytes));
        prop_assert!(answer.is_empty() || answer.starts_with("HTTP/1."), "{answer}");
        for line in answer.lines().filter(|line| line.starts_with("HTTP/1.")) {
            prop_assert!(!line.contains(" 5"), "{line} for {}", String::from_utf8_lossy(&bytes));
        }
        prop_assert!(!answer.to_ascii_lowercase().contains("<html"));
        Ok(())
    });
    check.expect("no counterexample");
    let alive = runtime.block_on(gateway.get("/health/live"));
    assert_eq!(alive.status(), 200);
}

/// How many chunks a backend gets of a body that a client sends in chunks of `size`.
async fn chunks_of(size: usize) -> usize {
    const BODY: usize = 256 * 1024;
    let upstream = Upstream::raw(|mut stream| async move {
        let mut seen = read_head(&mut stream).await;
        while !seen.ends_with(b"\r\n0\r\n\r\n") && stream.read_buf(&mut seen).await.unwrap_or(0) > 0 {}
        let begin = seen.windows(4).position(|window| window == b"\r\n\r\n").expect("a head") + 4;
        let (mut rest, mut chunks, mut bytes) = (&seen[begin..], 0, 0);
        loop {
            let line = rest.windows(2).position(|window| window == b"\r\n").expect("a size");
            let text = std::str::from_utf8(&rest[..line]).expect("text");
            let size = usize::from_str_radix(text, 16).expect("a number");
            if size == 0 {
                break;
            }
            (chunks, bytes) = (chunks + 1, bytes + size);
            rest = &rest[line + 2 + size + 2..];
        }
        assert_eq!(bytes, BODY);
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{chunks}", chunks.to_string().len());
        let _ = stream.write_all(answer.as_bytes()).await;
    })
    .await;
    let gateway = Running::before(upstream.addr).await;
    let mut request =
        b"POST /api/products HTTP/1.1\r\nhost: a\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
    let chunk = [format!("{size:x}\r\n").as_bytes(), &vec![b'x'; size], b"\r\n"].concat();
    request.extend(chunk.repeat(BODY / size));
    request.extend_from_slice(b"0\r\n\r\n");
    let answer = gateway.raw(request).await;
    answer.rsplit("\r\n").next().and_then(|count| count.parse().ok()).unwrap_or_else(|| panic!("{answer}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_in_chunks_of_one_byte_is_passed_on_in_few_pieces() {
    let (large, small) = (chunks_of(16 * 1024).await, chunks_of(1).await);
    assert!(small <= 3 * large, "{small} pieces of chunks of one byte, {large} of large ones");
}

/// More than sockets and the gateway hold together, when it is asked for a few times.
const MUCH: &[u8] = &[b'x'; 1024 * 1024];

/// What a backend gives without end.
fn ticks(piece: &'static [u8]) -> BoxBody<Bytes, Infallible> {
    let ticks = tokio::time::interval(Duration::from_millis(20));
    BodyExt::boxed(StreamBody::new(stream::unfold(ticks, move |mut ticks| async move {
        ticks.tick().await;
        Some((Ok(Frame::data(Bytes::from_static(piece))), ticks))
    })))
}

/// Reads a body to its end and keeps nothing of it; whether it had one.
async fn drained(mut body: Incoming) -> bool {
    while let Some(frame) = body.frame().await {
        if frame.is_err() {
            return false;
        }
    }
    true
}

/// A backend that is well: it takes bodies, and gives little, much, or something now and then without end.
async fn well() -> Upstream {
    Upstream::raw(|stream| async move {
        let service = service_fn(|request: Request<Incoming>| async move {
            let path = request.uri().path().to_owned();
            drained(request.into_body()).await;
            Ok::<_, Infallible>(Response::new(match path.as_str() {
                "/products/large" => Full::new(Bytes::from_static(MUCH)).boxed(),
                "/products/endless" => ticks(b"tick"),
                _ => Full::new(Bytes::from_static(b"well")).boxed(),
            }))
        });
        let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
    })
    .await
}

/// The same for gRPC: it answers when a call is whole.
async fn well_over_grpc() -> Upstream {
    Upstream::raw(|stream| async move {
        let service = service_fn(|request: Request<Incoming>| async move {
            let is_endless = request.uri().path().ends_with("/Endless");
            drained(request.into_body()).await;
            let answer = Response::builder().header("content-type", "application/grpc");
            if is_endless {
                return answer.body(ticks(&[0; 4096]));
            }
            answer.header("grpc-status", "0").body(Full::default().boxed())
        });
        let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
        let _ = server.serve_connection(TokioIo::new(stream), service).await;
    })
    .await
}

/// How a client speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wire {
    Http1,
    Http2,
    Grpc,
}

/// A client as one should be: it leaves when it is told to, and sends again what was not sent.
struct Good {
    addr: SocketAddr,
    wire: Wire,
    /// Takes it that a connection closes under a request.
    forgives: bool,
    one: Option<hyper::client::conn::http1::SendRequest<Full<Bytes>>>,
    two: Option<hyper::client::conn::http2::SendRequest<Full<Bytes>>>,
}

impl Good {
    fn request(&self) -> Request<Full<Bytes>> {
        let request = match self.wire {
            Wire::Http1 => Request::get("/api/products").header("host", "a"),
            Wire::Http2 => Request::get("http://a/api/products"),
            Wire::Grpc => Request::post("http://a/shop.product.v1.ProductService/GetProduct")
                .header("content-type", "application/grpc")
                .header("te", "trailers"),
        };
        let body = if self.wire == Wire::Grpc { &[0; 5][..] } else { &[] };
        request.body(Full::new(Bytes::from_static(body))).expect("a request")
    }

    async fn connect(&mut self) -> Result<(), String> {
        let io = TokioIo::new(TcpStream::connect(self.addr).await.map_err(|error| error.to_string())?);
        if self.wire == Wire::Http1 {
            let (sender, connection) =
                hyper::client::conn::http1::handshake(io).await.map_err(|error| error.to_string())?;
            tokio::spawn(connection);
            self.one = Some(sender);
        } else {
            let shaken = hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await;
            let (sender, connection) = shaken.map_err(|error| error.to_string())?;
            tokio::spawn(connection);
            self.two = Some(sender);
        }
        Ok(())
    }

    /// One request, over another connection if the one at hand takes it no more.
    async fn ask(&mut self) -> Result<(), String> {
        for _ in 0..3 {
            let is_ready = match (&mut self.one, &mut self.two) {
                (Some(one), _) => one.ready().await.is_ok(),
                (None, Some(two)) => two.ready().await.is_ok(),
                (None, None) => false,
            };
            if !is_ready {
                (self.one, self.two) = (None, None);
                self.connect().await?;
            }
            let request = self.request();
            let sent = match (&mut self.one, &mut self.two) {
                (Some(one), _) => one.try_send_request(request).await,
                (None, Some(two)) => two.try_send_request(request).await,
                (None, None) => return Err("no connection".into()),
            };
            match sent {
                Ok(answer) => return self.check(answer).await,
                // The descriptors of idle connections are needed, and a request may come in between: no proxy can help that, and
                // browsers ask again.
                Err(error) if error.message().is_some() || is_untouched(error.error()) || self.forgives => {
                    (self.one, self.two) = (None, None);
                }
                Err(error) => return Err(format!("{error:?}")),
            }
        }
        Err("no connection takes it".into())
    }

    async fn check(&mut self, answer: Response<Incoming>) -> Result<(), String> {
        let (head, body) = answer.into_parts();
        let body = body.collect().await.map_err(|error| format!("{error:?}"))?;
        if head.headers.get("connection").is_some_and(|value| value == "close") {
            self.one = None;
        }
        let trailers = body.trailers().cloned().unwrap_or_default();
        let is_well = match self.wire {
            Wire::Grpc => head.headers.get("grpc-status").or(trailers.get("grpc-status")).is_some_and(|is| is == "0"),
            _ => head.status == 200 && body.to_bytes() == "well",
        };
        if is_well { Ok(()) } else { Err(format!("{head:?}")) }
    }
}

/// Whether the gateway said that it did nothing for it: it takes no more over this connection (RFC 9113, section 6.8).
fn is_untouched(error: &hyper::Error) -> bool {
    let error = std::error::Error::source(error).and_then(|source| source.downcast_ref::<h2::Error>());
    error.is_some_and(|error| error.is_go_away() && error.reason() == Some(h2::Reason::NO_ERROR))
}

/// Asks again and again until it is told to stop; how often it was answered, and what was wrong with it.
async fn good(mut client: Good, stop: Arc<AtomicBool>) -> (usize, Vec<String>) {
    let (mut answered, mut wrong) = (0, Vec::new());
    let mut pace = tokio::time::interval(Duration::from_millis(20));
    pace.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while !stop.load(SeqCst) || answered == 0 && wrong.is_empty() {
        pace.tick().await;
        let asked = tokio::time::timeout(Duration::from_secs(20), client.ask()).await;
        match asked.unwrap_or_else(|_| Err("nothing for twenty seconds".into())) {
            Ok(()) => answered += 1,
            Err(why) => {
                wrong.push(format!("{:?}: {why}", client.wire));
                (client.one, client.two) = (None, None);
            }
        }
    }
    (answered, wrong)
}

/// What is special about the process while it is attacked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trouble {
    None,
    /// It has few file descriptors.
    Descriptors,
    /// Nobody reads its log.
    Log,
    /// It is told to end, in the middle.
    Sigterm,
}

/// Beside the attacks one by one: what they do to a process that is in trouble, and how it counts that.
const TROUBLES: [(Trouble, &str, &str); 5] = [
    (Trouble::Descriptors, "idle connections", "gateway_connections_shed_total{reason=\"descriptors\"}"),
    (Trouble::Log, "what fills the log", "log_lines_lost_total"),
    (Trouble::Sigterm, "no body", ""),
    (Trouble::Sigterm, "http2: never reading", ""),
    (Trouble::Sigterm, "grpc: slow messages", ""),
];

/// The limits that attacks are measured by. On a busy machine good clients are slow, too.
const SETTINGS: &str = r#"
workers = 2
drain_delay = "4s"
[http]
header_timeout = "1s"
[limits]
body_idle = "1s"
write_stall = "1s"
[stop]
grace = "8s"
[rate_limit]
enabled = false
[retries]
enabled = false
[health_check]
enabled = false
[access_log]
fields = ["path"]
"#;

/// A gateway of its own.
struct Target {
    process: Child,
    addr: SocketAddr,
    log: NamedTempFile,
    api: Api,
    _settings: NamedTempFile,
}

impl Target {
    async fn start(trouble: Trouble, http: &[&Upstream], grpc: &[&Upstream]) -> Self {
        let port = free_port();
        let mut settings = NamedTempFile::new().expect("a file");
        settings.write_all(SETTINGS.as_bytes()).expect("writes");
        let urls =
            |all: &[&Upstream]| all.iter().map(|one| format!("http://{}", one.addr)).collect::<Vec<_>>().join(",");
        let program = Process::new("gateway")
            .env("IDENTITY_MODE", "off")
            .env("PORT", port.to_string())
            .env("ADMIN_PORT", "0")
            .env("LOG_FORMAT", "json")
            .env("PRODUCT_SERVICE_URLS", urls(http))
            .env("PRODUCT_SERVICE_GRPC_URLS", urls(grpc))
            .beside(&["--config", settings.path().to_str().expect("a path")]);
        let log = NamedTempFile::new().expect("a file");
        let program = program.stderr(log.reopen().expect("opens it"));
        let program = match trouble {
            Trouble::Log => program.stdout(Stdio::piped()),
            _ => program.stdout(log.reopen().expect("opens it")),
        };
        let api = Api::new(format_args!("127.0.0.1:{port}"));
        let process = program.spawn();
        let target = Self { process, addr: ([127, 0, 0, 1], port).into(), log, api, _settings: settings };
        eventually!(within Duration::from_mins(1), {
            let asked = target.api.request(Method::GET, "/health/ready").timeout(Duration::from_secs(2));
            let ready = target.api.try_send(asked).await;
            ready.is_ok_and(|reply| reply.status == 200)
        });
        target
    }

    /// Leaves it so many file descriptors beside those that it has.
    fn leave(&self, files: usize) {
        let pid = Pid::from_raw(i32::try_from(self.process.id()).expect("a pid")).expect("a pid");
        let open = std::fs::read_dir(format!("/proc/{}/fd", self.process.id())).expect("its files").count();
        let most = u64::try_from(open + files).ok();
        prlimit(Some(pid), Resource::Nofile, Rlimit { current: most, maximum: most }).expect("fewer");
    }

    /// Resident memory in bytes; none once it has ended.
    fn memory(&self) -> Option<usize> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id())).ok()?;
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.strip_suffix(" kB"))?;
        resident.trim().parse::<usize>().ok().map(|kib| kib * 1024)
    }

    /// What it counts; nothing when it closed the connection meanwhile, as it may while it has too many.
    async fn metrics(&self) -> String {
        self.api.try_send(self.api.request(Method::GET, "/metrics")).await.map(|reply| reply.text).unwrap_or_default()
    }

    /// What is wrong with what it logged: each reason has to be of the client's side.
    fn log(&self) -> Vec<String> {
        const CLIENTS: [&str; 6] =
            ["client_closed", "body_timeout", "bad_request", "no_route", "too_many_unfinished", "draining"];
        let log = std::fs::read_to_string(self.log.path()).expect("its log");
        let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let wrong = lines.filter(|line| {
            let reason = line["reason"].as_str();
            // A deadline is what the caller says it is.
            let is_clients = |reason| CLIENTS.contains(&reason) || line["grpc_status"] == 4;
            line["level"] == "ERROR" || line["status"].as_u64() >= Some(500) || !reason.is_none_or(is_clients)
        });
        wrong.take(3).map(|line| line.to_string()).collect()
    }
}

fn value(metrics: &str, name: &str) -> f64 {
    let line = metrics.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|value| value.trim().parse().ok()).unwrap_or_default()
}

/// Attacks `target`; by how many bytes its memory grew meanwhile.
async fn attacked(target: &Target, attack: Attack, trouble: Trouble, seen: &[&str]) -> Result<usize, String> {
    let before = target.memory().expect("it runs");
    let attackers = (1..=ATTACKERS).map(|number| {
        let attacker = Attacker { from: [127, 0, 2, number].into(), to: target.addr };
        tokio::spawn(attack.run(attacker))
    });
    let attackers: Vec<_> = attackers.collect();
    let (mut most, mut looks) = (before, tokio::time::interval(Duration::from_millis(20)));
    let (begun, mut is_told) = (Instant::now(), trouble != Trouble::Sigterm);
    // What the gateway itself puts an end to goes on until it did, however slow the machine is.
    let waits = is_told && !seen.is_empty() && !seen.iter().any(|name| name.contains("client_closed"));
    while attackers.iter().any(|attacker| !attacker.is_finished()) {
        looks.tick().await;
        if begun.elapsed() > ATTACK {
            let numbers = if waits { target.metrics().await } else { String::new() };
            if !waits || begun.elapsed() > LONGEST_ATTACK || seen.iter().any(|name| value(&numbers, name) > 0.0) {
                attackers.iter().for_each(JoinHandle::abort);
            }
        }
        most = most.max(target.memory().unwrap_or_default());
        if !is_told && begun.elapsed() > ATTACK / 3 {
            target.process.signal("TERM");
            is_told = true;
        }
    }
    for attacker in attackers {
        if let Err(error) = attacker.await
            && error.is_panic()
        {
            return Err(error.to_string());
        }
    }
    Ok(most - before)
}

/// What is wrong with what `target` counts, once it has one of `seen`, and nobody is left.
async fn aftermath(target: &Target, seen: &[&str]) -> Result<(), String> {
    let busy = |line: &str| line.starts_with("gateway_active_requests{") && !line.ends_with(" 0");
    let (mut numbers, mut looks) = (String::new(), tokio::time::interval(Duration::from_millis(100)));
    let settles = async {
        loop {
            looks.tick().await;
            numbers = target.metrics().await;
            let is_seen = !numbers.is_empty() && seen.is_empty() || seen.iter().any(|name| value(&numbers, name) > 0.0);
            // Who asks is a client with a connection or two, and his request is being served.
            let is_busy = numbers.lines().any(|line| busy(line) && !line.contains("service=\"gateway\""));
            if is_seen && !is_busy && value(&numbers, "gateway_client_connections ") <= 3.0 {
                break;
            }
        }
    };
    let is_settled = tokio::time::timeout(Duration::from_secs(15), settles).await.is_ok();
    let told = |begins: &[&str], well: &str| -> Vec<String> {
        let is_told = |line: &&str| begins.iter().any(|begin| line.starts_with(begin)) && !line.ends_with(well);
        numbers.lines().filter(is_told).map(str::to_owned).collect()
    };
    if !is_settled {
        let families = ["gateway_client", "gateway_active", "gateway_conn", "gateway_ref", "gateway_str", "log_lines"];
        return Err(format!("{:?}", told(&families, " 0")));
    }
    let ill = [told(&["gateway_circuit_breaker_state{"], " 0"), told(&["gateway_backend_health{"], " 1")].concat();
    if ill.is_empty() { Ok(()) } else { Err(format!("{ill:?}")) }
}

/// What is wrong after `attack` was made on a gateway with backends that are well, two of each kind, while others ask it.
async fn under(attack: Attack, trouble: Trouble, seen: &[&str]) -> Result<(), String> {
    let backends = (well().await, well().await, well_over_grpc().await, well_over_grpc().await);
    let mut target = Target::start(trouble, &[&backends.0, &backends.1], &[&backends.2, &backends.3]).await;
    let stop = Arc::new(AtomicBool::new(false));
    let forgives = trouble == Trouble::Descriptors;
    let client = |wire| Good { addr: target.addr, wire, forgives, one: None, two: None };
    let mut clients = [Wire::Http1, Wire::Http2, Wire::Grpc].map(client);
    for client in &mut clients {
        client.ask().await?;
    }
    if trouble == Trouble::Descriptors {
        target.leave(60);
    }
    let good = clients.map(|client| tokio::spawn(good(client, Arc::clone(&stop))));
    let grown = attacked(&target, attack, trouble, seen).await?;
    stop.store(true, SeqCst);
    for good in good {
        let (answered, failures) = good.await.map_err(|error| error.to_string())?;
        if !failures.is_empty() {
            return Err(format!("beside {answered} good answers {failures:?}"));
        }
    }
    if grown > MOST_MEMORY {
        return Err(format!("{grown} bytes of memory"));
    }
    if trouble != Trouble::Sigterm {
        aftermath(&target, seen).await?;
        target.process.signal("TERM");
    }
    let ended = eventually!(within Duration::from_secs(30), target.process.exited());
    let lines = target.log();
    if ended.success() && lines.is_empty() { Ok(()) } else { Err(format!("{ended}: {lines:?}")) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_one_client_does_the_others_do_not_notice() {
    more_files();
    let mut rows: Vec<_> = ATTACKS.iter().map(|attack| (*attack, Trouble::None, attack.seen.to_vec())).collect();
    for (trouble, name, seen) in TROUBLES {
        let attack = ATTACKS.iter().find(|attack| attack.name == name).expect("an attack");
        rows.push((*attack, trouble, Some(seen).filter(|seen| !seen.is_empty()).into_iter().collect()));
    }
    // Not all at once, or it is the machine that is slow.
    let made = stream::iter(&rows).map(async |(attack, trouble, seen)| {
        let made = tokio::time::timeout(Duration::from_mins(1), under(*attack, *trouble, seen)).await;
        made.unwrap_or_else(|_| Err("it does not end".into()))
            .map_err(|why| format!("{}, {trouble:?}: {why}", attack.name))
    });
    let made = made.buffer_unordered(8);
    let wrong: Vec<_> = made.filter_map(async |made| made.err()).collect().await;
    assert_eq!(wrong, [""; 0]);
}

#[tokio::test]
async fn a_client_that_sends_nothing_more_after_its_request_gets_its_answer() {
    let upstream = Upstream::echo().await;
    let gateway = Running::before(upstream.addr).await;
    for request in [
        "GET /api/products HTTP/1.1\r\nhost: a\r\n\r\n",
        "POST /api/products HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\nok",
        "POST /api/products HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    ] {
        let mut client = TcpStream::connect(gateway.addr).await.expect("connects");
        client.write_all(request.as_bytes()).await.expect("writes");
        client.shutdown().await.expect("ends");
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.expect("an answer");
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    }
    // Not one that breaks off.
    let mut client = TcpStream::connect(gateway.addr).await.expect("connects");
    client.write_all(b"POST /api/products HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\nok").await.expect("writes");
    client.shutdown().await.expect("ends");
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.expect("an end");
    assert!(!answer.contains(" 200 "), "{answer}");
}

#[tokio::test]
async fn who_names_no_host_is_not_taken_for_this_machine() {
    let upstream = Upstream::echo().await;
    let gateway = Running::before(upstream.addr).await;
    let answer = gateway.raw("GET /admin/config HTTP/1.0\r\n\r\n").await;
    assert!(answer.contains(" 404 "), "{answer}");
    let answer = gateway.raw("GET /api/products HTTP/1.0\r\n\r\n").await;
    assert!(answer.contains(" 200 OK\r\n") && !answer.contains("localhost"), "{answer}");
}

#[tokio::test]
async fn names_with_underscores_pass_only_if_they_are_let_through() {
    let upstream = Upstream::echo().await;
    let mut settings = config(upstream.addr);
    for passes in [false, true] {
        settings.underscores_in_headers = passes;
        let gateway = Running::start(settings.clone()).await;
        let mut ask = get("/api/products");
        ask.headers_mut().insert("x_user", "1".parse().expect("a value"));
        let seen = gateway.send(ask).await.json();
        assert_eq!(!crate::support::echoed(&seen, "x_user").is_empty(), passes);
    }
}

#[tokio::test]
async fn the_size_of_a_chunk_has_no_more_digits_than_a_number() {
    let upstream = Upstream::echo().await;
    let gateway = Running::before(upstream.addr).await;
    for (zeros, status) in [(15, 200), (16, 400)] {
        let head = "POST /api/products HTTP/1.1\r\nhost: a\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n";
        let answer = gateway.raw(format!("{head}{}1\r\nx\r\n0\r\n\r\n", "0".repeat(zeros))).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{zeros}: {answer}");
    }
}
