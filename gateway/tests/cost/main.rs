//! What a request costs on the straight path, in allocations and in system calls: numbers that may not grow. Who brings one
//! down writes down the new one.
//!
//! A test program of its own: allocations are those of the whole process.

use std::alloc::System;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};

use shop_gateway::settings::BackendUrl;
use shop_gateway::{Config, Gateway};
use shop_identity::IdentitySettings;
use shop_runtime::Shutdown;
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

mod calls;
mod routes;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Allocations, without those of log lines, for which nobody listens here.
const MOST_OF_GET: usize = 11;
const MOST_OF_POST: usize = 14;

const GET: &[u8] =
    b"GET /api/products/1 HTTP/1.1\r\nhost: shop.example\r\nuser-agent: cost\r\naccept: application/json\r\n\
    origin: https://shop.example\r\n\r\n";
const POST: &[u8] =
    b"POST /api/products HTTP/1.1\r\nhost: shop.example\r\nuser-agent: cost\r\naccept: application/json\r\n\
    origin: https://shop.example\r\ncontent-type: application/json\r\ncontent-length: 4\r\n\r\n{ }\n";
/// Of the backend.
const ANSWER: &[u8] =
    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 4\r\ndate: today\r\n\r\n[ ]\n";

/// One test at a time: what the other allocates would be counted.
static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// A message's end here, since each body ends with the only one.
const END: u8 = b'\n';

/// Reads a message with a body that ends in [`END`] behind its head, or without one; false at the end of the connection.
fn read(stream: &mut TcpStream, buffer: &mut [u8], has_body: impl Fn(&[u8]) -> bool) -> bool {
    let mut filled = 0;
    loop {
        let Ok(size @ 1..) = stream.read(&mut buffer[filled..]) else { return false };
        filled += size;
        let read = &buffer[..filled];
        let head = read.windows(4).position(|four| four == b"\r\n\r\n").map(|at| at + 4);
        if head.is_some_and(|head| !has_body(read) || (filled > head && read[filled - 1] == END)) {
            return true;
        }
    }
}

/// A backend that allocates nothing once its connections are there.
fn backend() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("binds");
    let addr = listener.local_addr().expect("bound");
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            std::thread::spawn(move || {
                let mut buffer = [0; 4096];
                while read(&mut stream, &mut buffer, |head| head.starts_with(b"POST")) {
                    stream.write_all(ANSWER).expect("the gateway reads");
                }
            });
        }
    });
    addr
}

/// A client that allocates nothing once it is there.
struct Client {
    stream: TcpStream,
    buffer: [u8; 4096],
}

impl Client {
    fn connect(addr: SocketAddr) -> Self {
        Self { stream: TcpStream::connect(addr).expect("connects"), buffer: [0; 4096] }
    }

    fn calls(&mut self, request: &[u8], count: usize) {
        for _ in 0..count {
            self.stream.write_all(request).expect("the gateway reads");
            assert!(read(&mut self.stream, &mut self.buffer, |_| true), "it answers");
            let head = &self.buffer[..12];
            assert_eq!(head, b"HTTP/1.1 200", "{}", String::from_utf8_lossy(head));
        }
    }
}

/// All on but what works beside requests.
fn config(upstream: SocketAddr) -> Config {
    let mut config = Config::default();
    config.http.host = IpAddr::V4(Ipv4Addr::LOCALHOST);
    (config.http.port, config.admin.port, config.workers) = (0, 0, 1);
    config.identity = IdentitySettings::off();
    config.health_check.enabled = false;
    config.rate_limit.requests = 1_000_000.try_into().expect("not zero");
    config.rate_limit.burst = 1_000_000.try_into().expect("not zero");
    config.services["product"].urls = vec![BackendUrl::new(upstream.ip().to_string(), upstream.port())].into();
    config
}

/// Allocations of each of the requests that `client` makes, rounded down; the least of some rounds, since timers of the
/// gateway tick meanwhile.
fn allocations(client: &mut Client, request: &[u8]) -> usize {
    const CALLS: usize = 200;
    client.calls(request, CALLS);
    let round = |_| {
        let before = ALLOCATOR.stats();
        client.calls(request, CALLS);
        let after = ALLOCATOR.stats();
        after.allocations - before.allocations + after.reallocations - before.reallocations
    };
    (0..5).map(round).min().expect("some rounds") / CALLS
}

#[tokio::test]
async fn a_request_allocates_no_more_than_it_did() {
    let _alone = ALONE.lock().await;
    let shutdown = Shutdown::new();
    let metrics = shop_telemetry::Metrics::new("gateway");
    let gateway = Gateway::build(config(backend()), metrics, &shutdown).await.expect("builds");
    let addr = gateway.http_addr();
    let ended = tokio::spawn(gateway.run(shutdown.clone()));
    let counted = tokio::task::spawn_blocking(move || {
        let mut client = Client::connect(addr);
        [GET, POST].map(|request| allocations(&mut client, request))
    });
    let [get, post] = counted.await.expect("answers");
    assert!(get <= MOST_OF_GET && post <= MOST_OF_POST, "allocations: {get} of a GET, {post} of a POST");
    shutdown.soft.cancel();
    ended.await.expect("ends").expect("well");
}
