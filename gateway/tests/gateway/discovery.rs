//! Backends that are looked up: in DNS, at a real name server that does as it is told, and in files.

use std::collections::HashMap;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

use hickory_resolver::proto::op::{Message, MessageType, ResponseCode};
use hickory_resolver::proto::rr::rdata::{A, SRV};
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use hickory_resolver::proto::serialize::binary::{BinDecodable, BinEncodable};
use parking_lot::Mutex;
use shop_gateway::Config;
use shop_gateway::settings::{Backends, NameServer, Strategy};
use shop_testing::eventually;
use tokio::net::UdpSocket;

use crate::support::{Client, Mortal, Running, Upstream, config, get, nobody};

/// What the name server says about a name.
#[derive(Clone)]
enum Says {
    Records(u32, Vec<RData>),
    Code(ResponseCode),
    /// This when it is asked for IPv4 addresses; of all else there is nothing.
    NoIpv4(ResponseCode),
    Nothing,
}

#[derive(Default)]
struct Zone {
    names: HashMap<String, Says>,
    asked: HashMap<String, Vec<Instant>>,
}

/// A name server.
struct Dns {
    addr: SocketAddr,
    zone: Arc<Mutex<Zone>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Dns {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Dns {
    async fn start() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.expect("binds");
        let addr = socket.local_addr().expect("bound");
        let zone = Arc::new(Mutex::new(Zone::default()));
        let task = tokio::spawn(serve(socket, Arc::clone(&zone)));
        Self { addr, zone, task }
    }

    fn set(&self, name: &str, says: Says) {
        self.zone.lock().names.insert(format!("{name}."), says);
    }

    /// Addresses of a name, to be kept for a second.
    fn points(&self, name: &str, last_bytes: &[u8]) {
        let records = last_bytes.iter().map(|last| RData::A(A(Ipv4Addr::new(127, 0, 0, *last)))).collect();
        self.set(name, Says::Records(1, records));
    }

    /// When it was asked for addresses of a name.
    fn asked(&self, name: &str) -> Vec<Instant> {
        self.zone.lock().asked.get(&format!("{name}.")).cloned().unwrap_or_default()
    }
}

async fn serve(socket: UdpSocket, zone: Arc<Mutex<Zone>>) {
    let mut buffer = [0; 4096];
    loop {
        let Ok((size, peer)) = socket.recv_from(&mut buffer).await else { return };
        let Ok(asked) = Message::from_bytes(&buffer[..size]) else { continue };
        let query = asked.queries[0].clone();
        let name = query.name().to_string();
        let says = {
            let mut zone = zone.lock();
            if query.query_type() != RecordType::AAAA {
                zone.asked.entry(name.clone()).or_default().push(Instant::now());
            }
            zone.names.get(&name).cloned().unwrap_or(Says::Code(ResponseCode::NXDomain))
        };
        let mut answer = Message::response(asked.metadata.id, asked.metadata.op_code);
        answer.metadata.message_type = MessageType::Response;
        answer.metadata.recursion_available = true;
        answer.add_query(query.clone());
        match says {
            Says::Nothing => continue,
            Says::NoIpv4(_) if query.query_type() != RecordType::A => {}
            Says::Code(code) | Says::NoIpv4(code) => answer.metadata.response_code = code,
            Says::Records(ttl, records) => {
                for data in records.into_iter().filter(|data| data.record_type() == query.query_type()) {
                    answer.add_answer(Record::from_rdata(query.name().clone(), ttl, data));
                }
            }
        }
        let bytes = answer.to_bytes().expect("encodes");
        let _ = socket.send_to(&bytes, peer).await;
    }
}

fn srv(priority: u16, weight: u16, port: u16, target: &str) -> RData {
    RData::SRV(SRV::new(priority, weight, port, Name::from_str(target).expect("a name")))
}

fn list(text: &str) -> Backends {
    text.parse().expect("a list")
}

/// The product service's backends are looked up at `urls`.
fn settings(dns: Option<&Dns>, urls: &str) -> Config {
    let mut settings = config(SocketAddr::from(([127, 0, 0, 1], 9)));
    settings.services["product"].urls = list(urls);
    settings.services["product"].grpc_urls = Backends::default();
    settings.discovery.nameservers = dns.iter().map(|dns| NameServer(dns.addr)).collect();
    settings.discovery.timeout = shop_config::Duration::millis(200);
    settings.discovery.file_interval = shop_config::Duration::millis(20);
    settings
}

async fn status(gateway: &Running) -> u16 {
    gateway.get("/api/products").await.status()
}

/// Servers on several addresses and one port.
fn servers(count: u8) -> (Vec<Mortal>, u16) {
    let first = Mortal::start();
    let port = first.addr.port();
    let others = (2..=count).map(|last| Mortal::at(SocketAddr::from(([127, 0, 0, last], port))));
    (std::iter::once(first).chain(others).collect(), port)
}

fn counts(servers: &[Mortal]) -> Vec<usize> {
    servers.iter().map(Mortal::count).collect()
}

fn failures(gateway: &Running, source: &str) -> f64 {
    let name = format!("gateway_discovery_failures_total{{service=\"product\",source=\"{source}\"}}");
    gateway.metric(&name).unwrap_or_default()
}

#[tokio::test]
async fn a_names_addresses_are_followed_under_load_without_a_failed_request() {
    let (servers, port) = servers(3);
    let dns = Dns::start().await;
    dns.points("product.test", &[1, 2]);
    let gateway = Running::start(settings(Some(&dns), &format!("dns://product.test:{port}"))).await;
    for _ in 0..10 {
        assert_eq!(status(&gateway).await, 200, "from the first request on");
    }
    let before = counts(&servers);
    assert!(before[0] > 0 && before[1] > 0 && before[2] == 0, "{before:?}");
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let load = (0..4).map(|_| {
        let (addr, stopped) = (gateway.addr, stopped.clone());
        tokio::spawn(async move {
            let mut client = Client::connect(addr).await;
            let mut answered = 0;
            while !*stopped.borrow() {
                let reply = client.send(get("/api/products")).await.expect("an answer");
                assert_eq!(reply.status(), 200);
                answered += 1;
            }
            answered
        })
    });
    let load: Vec<_> = load.collect();
    for (points, newcomer) in [([3, 2], 2), ([1, 3], 0), ([2, 3], 1)] {
        let seen = servers[newcomer].count();
        dns.points("product.test", &points);
        eventually!(servers[newcomer].count() > seen);
    }
    stop.send(true).expect("the load runs");
    for load in load {
        assert!(load.await.expect("no failed request") > 0);
    }
    let left = servers[0].count();
    for _ in 0..10 {
        assert_eq!(status(&gateway).await, 200);
    }
    assert_eq!(servers[0].count(), left, "who is not named any more gets nothing");
    assert!(gateway.metric(&format!("gateway_backend_health{{backend=\"http://127.0.0.1:{port}\"")).is_none());
    let success = "gateway_discovery_last_success_timestamp_seconds{service=\"product\"";
    assert!(gateway.metric(success).is_some_and(|time| time > 1.7e9));
}

#[tokio::test]
async fn a_name_is_asked_for_again_when_its_time_to_live_is_over_and_not_before() {
    let dns = Dns::start().await;
    dns.points("short.test", &[1]);
    dns.set("long.test", Says::Records(60, vec![RData::A(A(Ipv4Addr::LOCALHOST))]));
    dns.set("zero.test", Says::Records(0, vec![RData::A(A(Ipv4Addr::LOCALHOST))]));
    let urls = "dns://short.test:1, dns://long.test:2, dns://zero.test:3";
    let _gateway = Running::start(settings(Some(&dns), urls)).await;
    eventually!(dns.asked("short.test").len() >= 4);
    assert_eq!(dns.asked("long.test").len(), 1);
    for name in ["short.test", "zero.test"] {
        for pair in dns.asked(name).windows(2) {
            assert!(pair[1] - pair[0] >= Duration::from_millis(990), "{name} is asked for once a second at most");
        }
    }
}

#[tokio::test]
async fn srv_records_give_ports_and_weights_and_the_lowest_priority_counts() {
    let (heavy, light, reserve) = (Mortal::start(), Mortal::start(), Mortal::start());
    let dns = Dns::start().await;
    dns.points("a.test", &[1]);
    let records = vec![
        srv(1, 30, heavy.addr.port(), "a.test."),
        srv(1, 10, light.addr.port(), "a.test."),
        srv(1, 10, 9, "gone.test."),
        srv(2, 10, reserve.addr.port(), "a.test."),
    ];
    dns.set("_http._tcp.product.test", Says::Records(1, records));
    let mut settings = settings(Some(&dns), "srv://_http._tcp.product.test");
    settings.load_balancer.strategy = Strategy::WeightedRoundRobin;
    let gateway = Running::start(settings).await;
    for _ in 0..40 {
        assert_eq!(status(&gateway).await, 200);
    }
    assert_eq!([heavy.count(), light.count(), reserve.count()], [30, 10, 0]);
    dns.set("_http._tcp.product.test", Says::Records(1, vec![srv(2, 0, reserve.addr.port(), "a.test.")]));
    eventually!({
        assert_eq!(status(&gateway).await, 200);
        reserve.count() > 0
    });
}

#[tokio::test]
async fn a_target_that_cannot_be_asked_for_takes_no_backend_away() {
    let (one, other) = (Mortal::start(), Mortal::start());
    let dns = Dns::start().await;
    dns.points("a.test", &[1]);
    dns.points("b.test", &[1]);
    let records = vec![srv(1, 1, one.addr.port(), "a.test."), srv(1, 1, other.addr.port(), "b.test.")];
    dns.set("_http._tcp.product.test", Says::Records(1, records));
    let source = "srv://_http._tcp.product.test";
    let gateway = Running::start(settings(Some(&dns), source)).await;
    dns.set("b.test", Says::NoIpv4(ResponseCode::ServFail));
    let begun = dns.asked("b.test").len();
    eventually!(dns.asked("b.test").len() > begun && failures(&gateway, source) > 0.0);
    let before = (one.count(), other.count());
    for _ in 0..4 {
        assert_eq!(status(&gateway).await, 200);
    }
    assert_eq!((one.count(), other.count()), (before.0 + 2, before.1 + 2));
    // That it has no address is an answer.
    dns.set("b.test", Says::NoIpv4(ResponseCode::NoError));
    eventually!({
        let before = other.count();
        for _ in 0..2 {
            assert_eq!(status(&gateway).await, 200);
        }
        other.count() == before
    });
}

#[tokio::test]
async fn while_dns_is_gone_those_known_last_serve_and_when_it_is_back_it_is_heard() {
    let (servers, port) = servers(2);
    let dns = Dns::start().await;
    let source = format!("dns://product.test:{port}");
    dns.points("product.test", &[1]);
    let gateway = Running::start(settings(Some(&dns), &source)).await;
    assert_eq!(status(&gateway).await, 200);
    let none = Says::Records(1, Vec::new());
    let gone = [Says::Code(ResponseCode::ServFail), Says::Code(ResponseCode::NXDomain), Says::Nothing, none];
    for (round, gone) in gone.into_iter().enumerate() {
        let (here, there) = (round % 2, 1 - round % 2);
        let before = failures(&gateway, &source);
        dns.set("product.test", gone);
        eventually!(failures(&gateway, &source) > before);
        let counted = counts(&servers);
        assert_eq!(status(&gateway).await, 200);
        assert_eq!((servers[here].count(), servers[there].count()), (counted[here] + 1, counted[there]));
        dns.points("product.test", &[if there == 0 { 1 } else { 2 }]);
        eventually!({
            assert_eq!(status(&gateway).await, 200);
            servers[there].count() > counted[there]
        });
    }
}

#[tokio::test]
async fn a_name_that_does_not_resolve_at_the_start_is_waited_for() {
    let (_servers, port) = servers(1);
    let dns = Dns::start().await;
    let gateway = Running::start(settings(Some(&dns), &format!("dns://product.test:{port}"))).await;
    gateway.get("/api/products").await.refused(503, "no_healthy_backend");
    dns.points("product.test", &[1]);
    eventually!(status(&gateway).await == 200);
}

#[tokio::test]
async fn what_stays_keeps_its_connections_and_stands_beside_what_is_written_down() {
    let stays = Upstream::echo().await;
    let dns = Dns::start().await;
    dns.points("product.test", &[1]);
    let port = stays.addr.port();
    let mut settings = settings(Some(&dns), &format!("dns://product.test:{port}, dns://other.test:9"));
    settings.workers = 1;
    let gateway = Running::start(settings.clone()).await;
    assert_eq!(status(&gateway).await, 200);
    dns.points("other.test", &[1]);
    let other = "gateway_backend_health{backend=\"http://127.0.0.1:9\",service=\"product\"}";
    eventually!(gateway.metric(other).is_some());
    dns.set("other.test", Says::Nothing);
    // The source goes, and with it what was found there.
    settings.services["product"].urls = list(&format!("http://127.0.0.1:{port}, dns://product.test:{port}"));
    gateway.handle.apply(settings).expect("good settings");
    eventually!(gateway.metric(other).is_none());
    for _ in 0..3 {
        assert_eq!(status(&gateway).await, 200);
    }
    assert_eq!(stays.connections.load(SeqCst), 1, "one connection all the time");
}

#[tokio::test]
async fn an_edited_source_leaves_the_backends_in_force_until_it_answers() {
    let (servers, port) = servers(2);
    let dns = Dns::start().await;
    dns.points("product.test", &[1]);
    let mut settings = settings(Some(&dns), &format!("dns://product.test:{port}"));
    let gateway = Running::start(settings.clone()).await;
    assert_eq!(status(&gateway).await, 200);
    dns.set("product.test", Says::Nothing);
    let edited = format!("dns://product.test:{port};weight=2");
    settings.services["product"].urls = list(&edited);
    gateway.handle.apply(settings).expect("good settings");
    // By the first failure the old source is long forgotten.
    eventually!({
        assert_eq!(status(&gateway).await, 200);
        failures(&gateway, &edited) > 0.0
    });
    dns.points("product.test", &[2]);
    eventually!({
        assert_eq!(status(&gateway).await, 200);
        servers[1].count() > 0
    });
    let left = servers[0].count();
    for _ in 0..4 {
        assert_eq!(status(&gateway).await, 200);
    }
    assert_eq!(servers[0].count(), left, "the new answer stands for itself");
    let backend = gateway.look("/health/detailed").await.json()["services"]["product"]["backends"][0].clone();
    assert_eq!(backend["weight"], 2, "{backend}");
}

#[tokio::test]
async fn backends_that_are_looked_up_from_now_on_stay_until_they_are_found() {
    let (servers, port) = servers(2);
    let dns = Dns::start().await;
    dns.set("product.test", Says::Nothing);
    let gateway = Running::start(settings(Some(&dns), &format!("http://127.0.0.1:{port}"))).await;
    assert_eq!(status(&gateway).await, 200);
    let source = format!("dns://product.test:{port}");
    gateway.handle.apply(settings(Some(&dns), &source)).expect("good settings");
    eventually!({
        assert_eq!(status(&gateway).await, 200);
        failures(&gateway, &source) > 0.0
    });
    dns.points("product.test", &[2]);
    eventually!({
        assert_eq!(status(&gateway).await, 200);
        servers[1].count() > 0
    });
    let left = servers[0].count();
    assert_eq!((status(&gateway).await, servers[0].count()), (200, left));
}

#[tokio::test]
async fn a_service_that_is_switched_on_again_has_the_backends_it_had() {
    let (_servers, port) = servers(1);
    let dns = Dns::start().await;
    dns.points("product.test", &[1]);
    let source = format!("dns://product.test:{port}");
    let gateway = Running::start(settings(Some(&dns), &source)).await;
    assert_eq!(status(&gateway).await, 200);
    let switch = async |body| gateway.admin("PUT", "/admin/services/product", body).await.status();
    assert_eq!(switch(r#"{"enabled": false}"#).await, 200);
    let success = "gateway_discovery_last_success_seconds{service=\"product\"";
    eventually!(gateway.metric(success).is_none());
    dns.set("product.test", Says::Nothing);
    assert_eq!(switch(r#"{"enabled": true}"#).await, 200);
    eventually!({
        assert_eq!(status(&gateway).await, 200);
        failures(&gateway, &source) > 0.0
    });
}

#[tokio::test]
async fn a_service_that_was_removed_has_no_memory_of_its_backends() {
    let one = Mortal::start();
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("backends.json");
    fs::write(&path, listing(&[one.addr])).expect("writes");
    let source = format!("file://{}", path.display());
    let body = serde_json::json!({ "urls": [source] }).to_string();
    let gateway = Running::start(settings(None, "http://127.0.0.1:1")).await;
    let ask = async |method, body: &str| gateway.admin(method, "/admin/services/search", body).await.status();
    let backends = async || gateway.look("/health/detailed").await.json()["services"]["search"]["backends"].clone();
    assert_eq!(ask("PUT", &body).await, 201);
    eventually!(backends().await.as_array().is_some_and(|all| all.len() == 1));
    assert_eq!(ask("DELETE", "").await, 200);
    assert!(backends().await.is_null());
    fs::remove_file(&path).expect("removes");
    assert_eq!(ask("PUT", &body).await, 201);
    let failed = format!("gateway_discovery_failures_total{{service=\"search\",source=\"{source}\"}}");
    eventually!(gateway.metric(&failed) > Some(0.0));
    assert_eq!(backends().await, serde_json::json!([]));
}

#[tokio::test]
async fn of_too_many_backends_the_first_are_used() {
    let (_servers, port) = servers(1);
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("backends.json");
    let all: Vec<_> = (0..1030).map(|n| SocketAddr::from(([127, 0, n / 250, n % 250 + 1].map(byte), port))).collect();
    fs::write(&path, listing(&all)).expect("writes");
    let gateway = Running::start(settings(None, &format!("file://{}", path.display()))).await;
    let shown = || {
        let text = gateway.metrics.render();
        let mine = |line: &&str| line.starts_with("gateway_backend_health") && line.contains(&format!(":{port}\""));
        text.lines().filter(mine).count()
    };
    assert_eq!(shown(), 1024);
    assert_eq!(status(&gateway).await, 200);
    // One that is added takes the place of one that was found, now and later.
    let other = Mortal::start();
    let body = serde_json::json!({"url": other.addr.to_string()}).to_string();
    assert_eq!(gateway.admin("POST", "/admin/services/product/backends", &body).await.status(), 201);
    assert_eq!(shown(), 1023);
    let mut fewer: Vec<_> = all.into_iter().take(1024).collect();
    swap(&path, &listing(&fewer));
    fewer.sort_by_key(|addr| addr.ip().to_string());
    let names =
        |addr: SocketAddr| gateway.metric(&format!("gateway_backend_health{{backend=\"http://{addr}\"")).is_some();
    // In the order of texts.
    eventually!(names(fewer[1022]));
    assert_eq!((shown(), names(fewer[1023])), (1023, false));
}

fn byte(number: u32) -> u8 {
    u8::try_from(number).expect("a byte")
}

/// A file that lists `addrs` for HTTP.
fn listing(addrs: &[SocketAddr]) -> String {
    let urls: Vec<_> = addrs.iter().map(|addr| format!("http://{addr};weight=2")).collect();
    serde_json::json!({ "http": urls }).to_string()
}

fn swap(path: &Path, content: &str) {
    let new = path.with_extension("new");
    fs::write(&new, content).expect("writes");
    fs::rename(new, path).expect("renames");
}

#[tokio::test]
async fn a_file_is_followed_and_one_that_cannot_be_read_changes_nothing() {
    let (one, other) = (Mortal::start(), Mortal::start());
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("backends.json");
    fs::write(&path, listing(&[one.addr])).expect("writes");
    let source = format!("file://{}", path.display());
    let gateway = Running::start(settings(None, &source)).await;
    assert_eq!((status(&gateway).await, one.count()), (200, 1));
    swap(&path, &listing(&[other.addr]));
    eventually!({
        assert_eq!(status(&gateway).await, 200);
        other.count() > 0
    });
    for bad in ["{", r#"{"http": ["ftp://a"]}"#, ""] {
        let before = failures(&gateway, &source);
        swap(&path, bad);
        eventually!(failures(&gateway, &source) > before);
        assert_eq!(status(&gateway).await, 200, "{bad}");
    }
    fs::remove_file(&path).expect("is there");
    let count = other.count();
    assert_eq!((status(&gateway).await, other.count()), (200, count + 1));
    // That there is none is a word too.
    swap(&path, r#"{"http": []}"#);
    eventually!(status(&gateway).await == 503);
    swap(&path, &listing(&[one.addr, other.addr]));
    eventually!(status(&gateway).await == 200);
}

#[tokio::test]
async fn a_file_behind_a_swapped_link_is_followed() {
    let (one, other) = (Mortal::start(), Mortal::start());
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    let link = |target: &str| {
        std::os::unix::fs::symlink(target, at("tmp")).expect("links");
        fs::rename(at("tmp"), at("data")).expect("renames");
    };
    for (name, addr) in [("one", one.addr), ("other", other.addr)] {
        fs::create_dir(at(name)).expect("makes a folder");
        fs::write(at(name).join("backends.toml"), format!("http = [\"http://{addr}\"]")).expect("writes");
    }
    link("one");
    std::os::unix::fs::symlink("data/backends.toml", at("backends.toml")).expect("links");
    let gateway = Running::start(settings(None, &format!("file://{}", at("backends.toml").display()))).await;
    assert_eq!((status(&gateway).await, one.count()), (200, 1));
    link("other");
    eventually!({
        assert_eq!(status(&gateway).await, 200);
        other.count() > 0
    });
}

#[tokio::test]
async fn a_service_is_not_without_backends_because_they_have_yet_to_be_found() {
    let mut settings = settings(None, "file:///nowhere/backends.json");
    settings.services["basket"].urls = list("dns://basket.test:1");
    settings.discovery.nameservers = vec![NameServer(nobody())];
    let gateway = Running::start(settings).await;
    for path in ["/api/products", "/api/baskets/1"] {
        let reply = gateway.get(path).await;
        reply.refused(503, "no_healthy_backend");
        let detail = reply.json()["detail"].to_string();
        assert!(detail.contains("not been found yet"), "{detail}");
    }
    assert_eq!(gateway.get("/health/ready").await.status(), 200);
}
