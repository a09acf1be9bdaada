//! Ten thousand clients that send a byte now and then: they cost memory that has a bound, and the others nothing.
//!
//! A test program of its own, since cargo runs these one after the other: so many connections take ports that other tests
//! are about to listen on.

use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use shop_testing::{Api, Process, eventually, free_port};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

/// Half of them send a head, half a body.
const CLIENTS: u64 = 10_000;
/// What one of them may cost: the buffers of its connection, and those of the one to the backend.
const MOST_BYTES_EACH: f64 = 64.0 * 1024.0;

/// As many clients as this system lets a test have: each body costs the test two sockets, its client's and its backend's.
fn clients() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    // What cannot be raised stays as it is.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
    let most = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    CLIENTS.min(most.saturating_sub(500) * 2 / 3)
}

/// Answers every request once its body is there.
async fn backend() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
    let addr = listener.local_addr().expect("bound");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer(stream));
        }
    });
    addr
}

/// Ends with the connection, also when that breaks off.
async fn answer(stream: TcpStream) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let mut body = 0;
        loop {
            let mut line = String::new();
            if stream.read_line(&mut line).await? == 0 {
                return Ok(());
            }
            if let Some(length) = line.to_ascii_lowercase().strip_prefix("content-length: ") {
                body = length.trim().parse().expect("a length");
            }
            if line == "\r\n" {
                break;
            }
        }
        stream.read_exact(&mut vec![0; body]).await?;
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}").await?;
    }
}

/// From one of many addresses: a port number each would not do for one.
async fn connect(number: u64, to: SocketAddr) -> TcpStream {
    let from = IpAddr::V4(Ipv4Addr::new(127, 0, 1, u8::try_from(number % 16).expect("small") + 1));
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind(SocketAddr::new(from, 0)).expect("binds");
    let mut stream = socket.connect(to).await.expect("connects");
    let begin = if number.is_multiple_of(2) {
        "GET /api/products HTTP/1.1\r\nhost: a\r\nx-slow: "
    } else {
        "POST /api/products HTTP/1.1\r\nhost: a\r\ncontent-length: 1000\r\n\r\n"
    };
    stream.write_all(begin.as_bytes()).await.expect("writes");
    stream
}

async fn metric(api: &Api, name: &str) -> f64 {
    let reply = api.send(api.request(http::Method::GET, "/metrics")).await;
    let line = reply.text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("no {name}"));
    line.trim().parse().expect("a number")
}

/// How long calls of a good client took, in order.
async fn calls(api: &Api, count: usize) -> Vec<Duration> {
    let mut took = Vec::new();
    for _ in 0..count {
        let begun = Instant::now();
        let answer = tokio::time::timeout(Duration::from_secs(20), api.get("/api/products/1")).await;
        assert_eq!(answer.expect("an answer").0, 200);
        took.push(begun.elapsed());
    }
    took
}

fn p99(mut took: Vec<Duration>) -> Duration {
    took.sort_unstable();
    took[took.len() * 99 / 100]
}

#[tokio::test]
async fn ten_thousand_slow_clients_cost_bounded_memory_and_the_others_nothing() {
    let backend = backend().await;
    let port = free_port();
    let mut settings = tempfile::NamedTempFile::new().expect("a file");
    let text = "[http]\nheader_timeout = \"5m\"\n[limits]\nbody_idle = \"5m\"\n[rate_limit]\nenabled = false\n[log]\nlevel = \"warn\"\n";
    settings.write_all(text.as_bytes()).expect("writes");
    let mut process = Process::new("gateway")
        .env("IDENTITY_MODE", "off")
        .arg("--config")
        .arg(settings.path().to_str().expect("a path"))
        .env("PORT", port.to_string())
        .env("ADMIN_PORT", "0")
        .env("PRODUCT_SERVICE_URLS", format!("http://{backend}"));
    process.start(port).await;
    let api = Api::new(format_args!("127.0.0.1:{port}"));
    calls(&api, 50).await;
    let quiet = p99(calls(&api, 500).await);
    let before = metric(&api, "process_resident_memory_bytes ").await;

    let clients = clients();
    let to = SocketAddr::from(([127, 0, 0, 1], port));
    let mut slow = Vec::new();
    for number in 0..clients {
        slow.push(connect(number, to).await);
    }
    #[expect(clippy::cast_precision_loss, reason = "thousands")]
    let count = clients as f64;
    eventually!(metric(&api, "gateway_client_connections ").await >= count);
    let mut took = Vec::new();
    for round in 0..10 {
        for stream in &mut slow {
            stream.write_all(b"x").await.unwrap_or_else(|error| panic!("cut in round {round}: {error}"));
        }
        took.extend(calls(&api, 50).await);
    }
    let each = (metric(&api, "process_resident_memory_bytes ").await - before) / count;
    // A measurement, not a promise: how busy the machine is decides.
    println!(
        "{clients} slow clients: {:.1} KiB each; p99 of a good one {quiet:?} without, {:?} with them",
        each / 1024.0,
        p99(took)
    );
    assert!(each < MOST_BYTES_EACH, "{each} bytes for each of {clients} slow clients");
    drop(slow);
    eventually!(metric(&api, "gateway_client_connections ").await < 20.0);
    eventually!(metric(&api, "gateway_active_requests{service=\"product\"} ").await < 1.0);
    assert!(process.stop().await.success(), "{}", process.output());
}
